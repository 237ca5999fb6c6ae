"""The import rules of the design: layers point one way, and there is no circle."""

import ast
import subprocess
import sys
from pathlib import Path

import likewise

ROOT = Path(likewise.__file__).parent
#: what each part may import of ours, beside itself
ALLOWED = {
    "spaces": set(),
    "draws": set(),
    "version": set(),
    "conversations": {"rows"},
    "modalities": {"spaces", "draws", "conversations", "sentences"},
    "backbones": {"spaces", "draws"},
    "classical": {"spaces", "draws"},
    "metrics": {"spaces", "draws", "version", "classical", "cache", "sentences"},
    "families": {"spaces", "draws", "backbones.base", "classical"},
    "streams": set(),
    "cache": set(),
    "sentences": {"cache"},
    "sources": {"cache", "streams"},
    "rows": set(),
    "sequences": {"rows"},
    "parallel": {"rows"},
    "records": {"sources", "streams"},
    "clips": set(),
    "layouts": {"clips", "conversations", "parallel", "records", "rows", "sequences", "sources", "streams"},
    "views": {"catalog", "records", "streams", "modalities.base"},
    "tile": {"spaces"},
    "reference": {"views", "modalities.base", "training"},
    "scan": {"cache", "catalog", "records", "sources", "streams", "modalities.base"},
    "quality": {"spaces", "records", "scan", "modalities.base", "metrics"},
    "huggingface": {"spaces", "backbones", "modalities", "training"},
    "plan": {
        "huggingface",
        "backbones",
        "spaces",
        "catalog",
        "config",
        "assemble",
        "latents",
        "layouts",
        "records",
        "run",
        "scan",
        "families.base",
        "modalities.base",
        "through",
        "views",
    },
    "through": {"catalog", "latents", "run"},
    "budget": {"plan", "config", "draws", "training"},
    "catalog": set(),
    "config": {"catalog", "backbones.base", "families.base", "modalities.base"},
    "assemble": {"spaces", "catalog", "backbones.base", "families.base", "modalities.base"},
    "latents": {"spaces", "draws", "families.base", "modalities.base", "modalities.letters"},
    "training": {"spaces", "streams", "draws", "config", "families.base", "modalities.base", "metrics.neighbours"},
    "samples": {"modalities.base"},
    "constrain": set(),
    "live": set(),
    "steering": {"spaces", "constrain", "live", "modalities.base"},
    "editing": {"spaces", "families.editing", "modalities.base"},
    "longer": {"draws", "families.base", "families.editing"},
    "run": {
        "editing",
        "longer",
        "reference",
        "samples",
        "spaces",
        "steering",
        "tile",
        "draws",
        "catalog",
        "config",
        "assemble",
        "latents",
        "families.base",
        "modalities.base",
        "training",
    },
    "export": {
        "huggingface",
        "spaces",
        "run",
        "training",
        "backbones",
        "families.autoregressive",
        "families.base",
        "families.flow",
        "families.paths",
        "modalities.image",
        "modalities.label",
        "modalities.text",
        "modalities.tokenizer",
        "version",
    },
}
SIBLINGS = {
    "backbones": {
        "base",
        "block",
        "causal",
        "context",
        "convolutions",
        "grids",
        "group_norm",
        "layers",
        "maps",
        "prefix",
        "rows",
    },
    "modalities": {"base", "borrowed", "footage", "letters", "palette", "patches", "pictures", "tokenizer", "written"},
    "families": {
        "augment",
        "base",
        "beam",
        "critic",
        "decoding",
        "editing",
        "few_step",
        "grids",
        "guidance",
        "likelihoods",
        "paths",
        "quantise",
        "reservoir",
        "solvers",
        "way_back",
        "windows",
    },
}


def imports(path):
    """The modules of ours that a file imports when it is imported (not those inside functions)."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("likewise"):
            base = node.module.removeprefix("likewise").lstrip(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".lstrip(".")
                yield inner if (ROOT / (inner.replace(".", "/") + ".py")).is_file() else base


def test_layers_point_one_way():
    wrong = []
    for path in ROOT.rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        part, _, _file = name.partition(".")
        for used in imports(path) if part in ALLOWED else ():
            if used.split(".")[0] == part:
                fine = part not in SIBLINGS or used.split(".")[1] in SIBLINGS[part]
            else:
                fine = used in ALLOWED[part] or used.split(".")[0] in ALLOWED[part]
            if not fine:
                wrong.append(f"{name} imports {used}")
    assert not wrong


def test_there_is_no_circle():
    graph = {".".join(p.relative_to(ROOT).with_suffix("").parts): set(imports(p)) for p in ROOT.rglob("*.py")}
    done: set[str] = set()

    def visit(name, path):
        assert name not in path, " -> ".join([*path, name])
        if name not in done:
            for used in graph.get(name, ()):
                visit(used, [*path, name])
            done.add(name)

    for name in graph:
        visit(name, [])


def test_help_loads_no_torch():
    code = "import sys, likewise, likewise.cli\nlikewise.cli.parser.build_parser()\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
