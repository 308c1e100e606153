"""The deployment files against what they are about: settings, commands, routes, files, each other."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from deploy.descriptions import (
    GIVEN,
    ROOT,
    compose,
    compose_services,
    examples,
    final_stage,
    image_environment,
    image_service,
    instructions,
    interpolated_names,
    own_services,
    render_services,
    services,
    text,
    without_shell,
)
from holdfast.settings import Settings

BIN = Path(sys.executable).parent
COMPOSE_SETS = {"DATABASE_URL", "REDIS_URL", "HOLDFAST_HOME"}
OF_CLIENTS = {"HOLDFAST_URL", "HOLDFAST_API_KEY"}
# Read by what runs, but no setting of Holdfast: Python, the platform's port, obstore's S3 store, the image.
OF_OTHERS = {
    "PATH", "PORT", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "AWS_REGION", "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
}  # fmt: skip
OF_POSTGRES_IMAGE = {"POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB"}


def setting_names():
    prefix = Settings.model_config["env_prefix"]
    return {
        field.validation_alias or prefix + name.upper(): field
        for name, field in Settings.model_fields.items()
    }


def started_commands():
    commands = {tuple(without_shell(service.argv)) for service in own_services()}
    # Those that differ in no more than where a port's number comes from.
    return {
        tuple(word for word in argv if not word.startswith("$")): argv for argv in sorted(commands)
    }.values()


def flower_options():
    import flower.options  # noqa: F401 - defines them
    from flower.command import ENV_VAR_PREFIX
    from tornado.options import options

    return {ENV_VAR_PREFIX + name.upper().replace("-", "_") for name in options}


def by_name(name):
    return next(service for service in compose_services() if service.name == name)


# -- .env.example


def test_every_setting_is_in_the_example_and_nothing_else():
    of_compose = interpolated_names(text("compose.yaml")).keys()
    names = [example.name for example in examples()]

    assert len(names) == len(set(names))
    assert set(names) - of_compose == setting_names().keys()


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_an_example_shows_the_default_under_its_description(example):
    assert re.fullmatch(r"[A-Z].*[^.:]\..*|[A-Z].*[.:].*", example.description)
    if (field := setting_names().get(example.name)) is None:
        return
    assert example.is_comment
    default = field.get_default(call_default_factory=True)
    shown = default.get_secret_value() if isinstance(default, SecretStr) else default
    assert example.value == ("" if shown is None else str(shown).removesuffix(".0"))


def test_what_compose_requires_is_empty_and_not_commented_out_in_the_example():
    required = {name for name, is_required in interpolated_names(text("compose.yaml")).items() if is_required}
    to_fill_in = {example.name for example in examples() if not example.is_comment and not example.value}

    assert required == GIVEN.keys() == to_fill_in


def test_defaults_in_the_example_are_those_of_compose():
    shown = {example.name: example.value for example in examples() if example.is_comment}
    for name, default in re.findall(r"\$\{(\w+):-([^}]*)\}", text("compose.yaml")):
        assert shown[name] == default


# -- commands, variables, routes, files


@pytest.mark.parametrize("argv", started_commands(), ids=" ".join)
def test_a_command_that_is_started_exists(argv):
    words = [argv[0], *(word for word in argv[1:] if re.fullmatch(r"[a-z.]+|-A", word))]
    run = subprocess.run(
        [BIN / words[0], *words[1:], "--help"], capture_output=True, text=True, timeout=60, cwd=ROOT
    )

    assert run.returncode == 0, run.stderr
    for option in (word.partition("=")[0] for word in argv if word.startswith("--")):
        assert option in run.stdout


def test_every_command_is_one_that_the_image_installs():
    started = {without_shell(service.argv)[0] for service in own_services()}

    assert started == {"holdfast", "celery"}


@pytest.mark.parametrize("service", services(), ids=str)
def test_a_variable_that_is_set_is_known(service):
    known = setting_names().keys() | OF_OTHERS
    if service.name == "flower":
        known |= flower_options()
    if service.name == "postgres":
        known = OF_POSTGRES_IMAGE

    assert service.environment.keys() <= known


@pytest.mark.parametrize("name", ["migrate", "api", "worker", "flower"])
def test_compose_hands_on_every_setting_of_a_server(name):
    environment = by_name(name).environment
    handed_on = {key for key, value in environment.items() if value is None}

    assert handed_on == setting_names().keys() - COMPOSE_SETS - OF_CLIENTS
    assert all(environment[key] for key in COMPOSE_SETS)


@pytest.mark.parametrize("service", list(render_services()), ids=str)
def test_render_gives_a_service_engines_and_shared_storage(service):
    assert {"DATABASE_URL", "REDIS_URL", "HOLDFAST_STORAGE_URL"} <= service.environment.keys()


def test_a_health_check_asks_a_route_that_exists(holdfast_routes):
    asked = {service.check_path for service in services() if service.check_path}
    asked |= set(re.findall(r"'(/\w+)'", image_service().check[2]))

    assert asked == {"/healthz"}
    assert asked <= holdfast_routes


def test_flowers_health_check_asks_a_route_that_exists():
    from flower.urls import handlers

    (asked,) = re.findall(r"'(/\w+)'", by_name("flower").check[2])

    assert asked in {
        handler[0] if isinstance(handler, tuple) else handler.matcher.regex for handler in handlers
    }


def test_files_that_are_named_exist():
    copied = [
        source
        for keyword, rest in instructions()
        if keyword == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    railway = [
        json.loads(text(file))["build"]["dockerfilePath"] for file in ("railway.json", "railway.worker.json")
    ]

    assert copied
    assert all((ROOT / name).exists() for name in [*copied, *railway])


def test_what_the_image_is_built_from_and_nothing_else_reaches_the_builder():
    copied = {
        source
        for keyword, rest in instructions()
        if keyword == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    first, *others = [
        line for line in text(".dockerignore").splitlines() if line and not line.startswith("#")
    ]

    assert first == "*"
    assert {line[1:] for line in others if line.startswith("!")} == copied


# -- the image


def test_the_image_runs_as_an_ordinary_user_with_a_fixed_number():
    (user,) = [rest for keyword, rest in final_stage() if keyword == "USER"]
    (created,) = [rest for keyword, rest in final_stage() if keyword == "RUN" and "useradd" in rest]
    uid, gid = user.split(":")

    assert uid == gid
    assert int(uid) >= 1000
    assert f"--uid {uid} " in created


def test_the_image_has_no_engines_and_no_compiler():
    (extras,) = [rest for keyword, rest in instructions() if keyword == "ARG"]
    everything = " ".join(rest for _, rest in instructions())

    assert extras == "EXTRAS=flower"
    assert "embedded" not in everything
    assert not re.search(r"\b(apt|apt-get|gcc|build-essential)\b", everything)


def test_the_image_stops_by_sigterm_and_does_not_hold_back_its_log():
    assert ("STOPSIGNAL", "SIGTERM") in final_stage()
    assert image_environment()["PYTHONUNBUFFERED"] == "1"
    assert image_service().argv[2].startswith("exec ")


def test_images_are_pinned():
    bases = [rest.split()[0] for keyword, rest in instructions() if keyword == "FROM"]
    images = [each["image"] for each in compose()["services"].values() if each["image"] != "holdfast"]

    assert all(re.fullmatch(r"python:3\.\d+-slim-\w+", base) for base in bases)
    assert len(set(bases)) == 1
    assert all(re.fullmatch(r"[\w/]+:\d+\.\d+\.\d+(-[\w-]+)?", image) for image in images)


# -- compose.yaml


def test_a_service_waits_only_for_what_can_come_to_pass():
    described = compose()["services"]
    for each in described.values():
        for name, wait in each.get("depends_on", {}).items():
            needed = described[name]
            if wait["condition"] == "service_healthy":
                assert "test" in needed["healthcheck"]
            if wait["condition"] == "service_completed_successfully":
                assert needed["restart"] == "no"


def test_services_start_in_an_order():
    waits = {name: set(each.get("depends_on", ())) for name, each in compose()["services"].items()}
    while waits:
        ready = {name for name, needed in waits.items() if not needed & waits.keys()}
        assert ready, f"{waits} wait for each other"
        waits = {name: needed for name, needed in waits.items() if name not in ready}


def test_api_and_worker_start_on_a_migrated_database_and_share_uploads():
    described = compose()["services"]
    for name in ("api", "worker"):
        assert described[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
        assert described[name]["volumes"] == [f"uploads:{by_name(name).environment['HOLDFAST_HOME']}"]


def test_every_volume_and_network_is_declared_and_used():
    everything = compose()
    each = everything["services"].values()
    volumes = {volume.split(":")[0] for service in each for volume in service.get("volumes", ())}
    networks = {network for service in each for network in service["networks"]}

    assert volumes == everything["volumes"].keys()
    assert networks == everything["networks"].keys()


def test_nothing_is_published_beyond_the_loopback_address():
    described = compose()["services"]
    published = {name: each["ports"] for name, each in described.items() if "ports" in each}

    assert published.keys() == {"api", "flower"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


@pytest.mark.parametrize("name", list(compose()["services"]))
def test_a_service_has_a_memory_limit_and_time_to_stop(name):
    described = compose()["services"][name]

    assert re.fullmatch(r"\d+[mg]", described["mem_limit"])
    if described["restart"] != "no":
        assert described["stop_grace_period"]
        assert described["restart"] == "unless-stopped"


def test_no_secret_is_in_a_file():
    for name in (
        "compose.yaml",
        "Dockerfile",
        "Procfile",
        "railway.json",
        "railway.worker.json",
        "render.yaml",
    ):
        for line in re.sub(r":\?[^}]*}", "}", text(name)).splitlines():
            assert not re.search(r"(?i)(password|secret|api_key|auth)\w*[\"']?\s*[:=]\s*[\"']?[a-z0-9]", line)


def test_compose_refuses_to_start_without_a_password_and_without_flowers_login():
    for name in GIVEN:
        with pytest.raises(AssertionError, match=name):
            compose(given=GIVEN | {name: ""})


@pytest.mark.skipif(
    shutil.which("docker") is None
    or subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode != 0,
    reason="`docker compose` is not installed",
)
def test_docker_compose_reads_the_file_as_meant(tmp_path):
    env_file = tmp_path / "env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in GIVEN.items()))
    run = subprocess.run(
        ["docker", "compose", "--env-file", env_file, "config", "--quiet"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert run.returncode == 0, run.stderr


def test_render_refers_only_to_what_it_declares():
    described = yaml.safe_load(text("render.yaml"))
    declared = {(each["type"], each["name"]) for each in described["services"]}
    databases = {each["name"] for each in described["databases"]}
    for service in described["services"]:
        for variable in service.get("envVars", ()):
            if of_service := variable.get("fromService"):
                assert (of_service["type"], of_service["name"]) in declared
            if of_database := variable.get("fromDatabase"):
                assert of_database["name"] in databases
