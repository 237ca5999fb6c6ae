"""The command line: parsing, wording, printing. The only place that knows how flags are spelt."""

from likewise.cli.entry import main as main
