"""Write CRDs, kcp schemas, admission policies and the reference page into the source tree that this module lies in."""

from pathlib import Path

from shared.api.generate.crds import generated_files

ROOT = Path(__file__).parents[3]


def main() -> None:
    """Write every generated file; unchanged inputs give unchanged bytes."""
    for name, text in generated_files().items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
