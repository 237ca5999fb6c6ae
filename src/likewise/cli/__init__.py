"""The command line: parsing, wording, printing. Only this package knows the spelling of flags."""

from likewise.cli.entry import main as main
