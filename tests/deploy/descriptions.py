"""What the deployment files say, in one form: services with a command, an environment and a health check."""

import json
import re
import shlex
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
GIVEN = {"POSTGRES_PASSWORD": "secret", "FLOWER_BASIC_AUTH": "operator:secret"}


@dataclass(frozen=True)
class Service:
    """One process that a file starts.

    `argv` is the command as the platform would run it, `None` for an image's own; `check` the same for its
    health check, `check_path` the path that a platform asks over HTTP. `environment` holds strings, and
    `None` for what is taken from elsewhere.
    """

    source: str
    name: str
    argv: list[str] | None
    environment: dict[str, str | None] = field(default_factory=dict)
    check: list[str] | None = None
    check_path: str | None = None

    def __str__(self):
        return f"{self.source}: {self.name}"


def text(name):
    return (ROOT / name).read_text()


def interpolate(value, given):
    """Fill in Compose's `${NAME}`, `${NAME:-default}`, `${NAME:?message}` and `$$`."""

    def fill(match):
        if match[0] == "$$":
            return "$"
        name, default = match["name"], match["default"]
        found = given.get(name) or default
        assert found is not None, f"{name} has neither a value nor a default"
        return found

    pattern = r"\$\$|\$\{(?P<name>\w+)(?::-(?P<default>[^}]*)|:\?[^}]*)?\}"
    match value:
        case str():
            return re.sub(pattern, fill, value)
        case list():
            return [interpolate(item, given) for item in value]
        case dict():
            return {key: interpolate(item, given) for key, item in value.items()}
    return value


def interpolated_names(content):
    """Variables that Compose takes from `.env`, with whether they have no default."""
    found = re.findall(r"\$\{(\w+)(:-|:\?)?", re.sub(r"(?m)^\s*#.*$", "", content))
    return {name: kind != ":-" for name, kind in found}


def compose(given=GIVEN):
    return interpolate(yaml.safe_load(text("compose.yaml")), given)


def instructions():
    """The Dockerfile's instructions in order, as `(keyword, arguments)`; continued lines are joined."""
    lines = [line for line in text("Dockerfile").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def final_stage():
    """The instructions of the Dockerfile's last stage, its FROM first."""
    every = instructions()
    start = max(number for number, (keyword, _) in enumerate(every) if keyword == "FROM")
    return every[start:]


def image_environment():
    words = [word for keyword, rest in final_stage() if keyword == "ENV" for word in shlex.split(rest)]
    return dict(word.split("=", 1) for word in words)


def image_service():
    (command,) = [json.loads(rest) for keyword, rest in final_stage() if keyword == "CMD"]
    (check,) = [rest for keyword, rest in final_stage() if keyword == "HEALTHCHECK"]
    return Service("Dockerfile", "api", command, image_environment(), json.loads(check.partition(" CMD ")[2]))


def compose_services():
    image = image_service()
    for name, described in compose()["services"].items():
        check = described.get("healthcheck", {}).get("test")
        if described["image"] == "holdfast":
            argv = described.get("command", image.argv)
            environment = image.environment | described["environment"]
            has_own = "healthcheck" in described
            yield Service(
                "compose.yaml", name, argv, environment, _check_argv(check) if has_own else image.check
            )
        else:
            argv = described.get("command")
            yield Service("compose.yaml", name, argv, described.get("environment", {}), _check_argv(check))


def _check_argv(check):
    match check:
        case None:
            return None
        case ["CMD", *argv]:
            return argv
        case ["CMD-SHELL", line]:
            return ["sh", "-c", line]
    raise AssertionError(f"{check} is not a health check in list form")


def procfile_services():
    for line in text("Procfile").splitlines():
        name, _, command = line.partition(": ")
        yield Service("Procfile", name, shlex.split(command))


def railway_services():
    for file in ("railway.json", "railway.worker.json"):
        deploy = json.loads(text(file))["deploy"]
        for command in deploy.get("preDeployCommand", []):
            yield Service(file, "before", shlex.split(command))
        start = deploy.get("startCommand")
        argv = shlex.split(start) if start else image_service().argv
        yield Service(file, "start", argv, check_path=deploy.get("healthcheckPath"))


def render_services():
    for described in yaml.safe_load(text("render.yaml"))["services"]:
        if described["type"] == "keyvalue":
            continue
        name = described["name"]
        environment = {each["key"]: each.get("value") for each in described["envVars"]}
        if before := described.get("preDeployCommand"):
            yield Service("render.yaml", f"{name}, before", shlex.split(before), environment)
        argv = (
            shlex.split(described["dockerCommand"]) if "dockerCommand" in described else image_service().argv
        )
        yield Service("render.yaml", name, argv, environment, check_path=described.get("healthCheckPath"))


def services():
    return [
        image_service(),
        *compose_services(),
        *procfile_services(),
        *railway_services(),
        *render_services(),
    ]


def own_services():
    """Services that run a command of this project, not of PostgreSQL's or Valkey's image."""
    return [service for service in services() if service.name not in ("postgres", "valkey")]


def without_shell(argv):
    """What a shell line of the files runs in the end: `sh -c "exec holdfast api"` is `holdfast api`."""
    if argv[:2] == ["sh", "-c"]:
        words = shlex.split(argv[2])
        return words[1:] if words[0] == "exec" else words
    return argv


@dataclass(frozen=True)
class Example:
    """A line of `.env.example`: what it sets, whether that is commented out, and the line above."""

    name: str
    value: str
    is_comment: bool
    description: str


def examples():
    found = []
    lines = text(".env.example").splitlines()
    for above, line in pairwise(lines):
        if match := re.fullmatch(r"(#?)([A-Z][A-Z0-9_]*)=(.*)", line):
            found.append(Example(match[2], match[3], bool(match[1]), above.removeprefix("# ")))
    return found
