"""The report: evidence, verdict, page, model card."""
