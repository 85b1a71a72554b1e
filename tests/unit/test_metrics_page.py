"""docs/metrics.md names every metric that the code makes, and no other."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
NAME = re.compile(r"(?:virtlease|db\.client|rpc\.server|mcp\.server)\.[a-z_.]+")

# Names that are put together from a beginning and the word in a call.
BEGINNINGS = {
    "services/session/virtlease_session/observe.py": (
        "virtlease.session.",
        r'observe\(\s*(?:counter|gauge), "([a-z._]+)"',
    ),
    "services/pool/virtlease_pool/metrics.py": ("db.client.connection.", r'histogram\("([a-z_]+)"'),
}
LABELS = ("db.client.connection.pool", "db.client.connection.state")
CREATED = re.compile(
    r'(?:create_[a-z_]+|gauge|total)\(\s*"((?:virtlease|db\.client|rpc\.server|mcp\.server)\.[a-z_.]+)"'
)


def test_every_metric_is_on_the_page() -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    named = {
        name
        for name in NAME.findall(page)
        if not name.startswith(("db.client.connection.pool", "db.client.connection.state"))
    }
    made: set[str] = set()
    for folder in ("chassis", "services", "gateway"):
        for path in (ROOT / folder).rglob("*.py"):
            source = path.read_text()
            made |= set(CREATED.findall(source))
            beginning, pattern = BEGINNINGS.get(str(path.relative_to(ROOT)), ("", ""))
            if beginning:
                made |= {beginning + word for word in re.findall(pattern, source)}
    assert named == made
