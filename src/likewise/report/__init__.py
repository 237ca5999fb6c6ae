"""The evaluation report: evidence, measures, verdict, web page, model card."""
