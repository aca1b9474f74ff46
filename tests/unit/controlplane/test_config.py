"""Settings: precedence, and errors that name where a value came from and what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from controlplane.config import Config, ConfigError, choose_file, load, strangers
from controlplane.settings import file_key, flag_name, variable_name
from controlplane.stores.keys import Keys


def problems(file: Path | None, environ: dict[str, str], flags: dict[str, str | None]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(file, environ, flags)
    return [str(problem) for problem in caught.value.problems]


LAYERS = {
    "file": "21s",
    "variable": "22s",
    "flag": "23s",
}


@pytest.mark.parametrize(
    ("given", "expected_s"),
    [
        ((), 10),
        (("file",), 21),
        (("variable",), 22),
        (("flag",), 23),
        (("file", "variable"), 22),
        (("file", "flag"), 23),
        (("variable", "flag"), 23),
        (("file", "variable", "flag"), 23),
    ],
)
def test_a_later_layer_wins_over_an_earlier_one(
    given: tuple[str, ...], expected_s: int, tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"leaseTtl: {LAYERS['file']}\n")

    config = load(
        file if "file" in given else None,
        {"PGSWARM_LEASE_TTL": LAYERS["variable"]} if "variable" in given else {},
        {"lease_ttl_s": LAYERS["flag"] if "flag" in given else None},
    )

    assert config.lease_ttl_s == expected_s


SAMPLES = {
    "host": ("host-9", "host-9"),
    "cluster": ("blue", "blue"),
    "etcd_endpoints": ("https://a:1,https://[::1]:2", ("https://a:1", "https://[::1]:2")),
    "instance_etcd_endpoints": ("http://b:1", ("http://b:1",)),
    "embedded_etcd": ("true", True),
    "prefix": ("/x", "/x/"),
    "docker": ("unix:///run/other.sock", "unix:///run/other.sock"),
    "advertise_address": ("10.0.0.1", "10.0.0.1"),
    "api_listen": ("[::1]:0", "[::1]:0"),
    "insecure": ("yes", True),
    "state_dir": ("/s", Path("/s")),
    "key_file": ("/k", Path("/k")),
    "image_catalogue": ("/i", Path("/i")),
    "subnet_pool": ("10.9.0.0/16", "10.9.0.0/16"),
    "lease_ttl_s": ("1m", 60),
    "resync_s": ("1500ms", 1.5),
    "log_level": ("DEBUG", "debug"),
}
PAIRED = {
    *("etcd_user", "etcd_password_file", "etcd_ca", "etcd_cert", "etcd_key"),
    *("instance_etcd_cert", "instance_etcd_key", "api_cert", "api_key"),
}


def test_every_setting_is_sampled() -> None:
    assert set(SAMPLES) | PAIRED == set(Config.model_fields)


@pytest.mark.parametrize("attribute", SAMPLES)
def test_a_setting_means_the_same_in_file_environment_and_flag(attribute: str, tmp_path: Path) -> None:
    text, expected = SAMPLES[attribute]
    file = tmp_path / "config.yaml"
    file.write_text(f'{file_key(attribute)}: "{text}"\n')

    assert getattr(load(file, {}, {}), attribute) == expected
    assert getattr(load(None, {variable_name(attribute): text}, {}), attribute) == expected
    assert getattr(load(None, {}, {attribute: text}), attribute) == expected


def test_a_list_in_the_file_is_a_list(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("etcdEndpoints:\n- http://a:1\n- http://b:2\n")

    assert load(file, {}, {}).etcd_endpoints == ("http://a:1", "http://b:2")


def test_defaults_follow_what_they_are_derived_from() -> None:
    config = load(None, {"PGSWARM_STATE_DIR": "/s", "PGSWARM_ETCD_ENDPOINTS": "http://a:1"}, {})

    assert config.key_file == Path("/s/key")
    assert config.instance_etcd_endpoints == ("http://a:1",)


def test_instances_show_etcd_their_own_certificate_or_else_the_processs() -> None:
    shared = {
        "PGSWARM_ETCD_ENDPOINTS": "https://a:1",
        "PGSWARM_ETCD_CERT": "/c",
        "PGSWARM_ETCD_KEY": "/k",
    }
    own = {"PGSWARM_INSTANCE_ETCD_CERT": "/own-c", "PGSWARM_INSTANCE_ETCD_KEY": "/own-k"}

    assert load(None, {}, {}).instance_etcd_identity() == (None, None)
    assert load(None, shared, {}).instance_etcd_identity() == (Path("/c"), Path("/k"))
    assert load(None, shared | own, {}).instance_etcd_identity() == (Path("/own-c"), Path("/own-k"))


def test_an_empty_variable_is_not_set() -> None:
    assert load(None, {"PGSWARM_LEASE_TTL": ""}, {}).lease_ttl_s == 10


@pytest.mark.parametrize("prefix", ["/pgswarm/v1/", "/a", "/patroni-not/x/"])
def test_every_accepted_prefix_makes_keys(prefix: str) -> None:
    Keys(load(None, {"PGSWARM_PREFIX": prefix}, {}).prefix)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"PGSWARM_LEASE_TTL": "10"}, ["variable PGSWARM_LEASE_TTL", "not a duration", "'10'", "10s"]),
        ({"PGSWARM_LEASE_TTL": "1s"}, ["not between 3s and 300s"]),
        ({"PGSWARM_LEASE_TTL": "6m"}, ["not between 3s and 300s"]),
        ({"PGSWARM_LEASE_TTL": "3500ms"}, ["not whole seconds"]),
        ({"PGSWARM_RESYNC": "0s"}, ["not between 1s and 86400s"]),
        ({"PGSWARM_ADVERTISE_ADDRESS": "$(id)"}, ["not an IP address or a host's name"]),
        ({"PGSWARM_ADVERTISE_ADDRESS": "10.0.0.1:5432"}, ["without port"]),
        ({"PGSWARM_INSECURE": "maybe"}, ["must be a valid boolean"]),
        ({"PGSWARM_ETCD_ENDPOINTS": "etcd:2379"}, ["http(s)://host:port"]),
        ({"PGSWARM_ETCD_ENDPOINTS": ","}, ["at least 1"]),
        ({"PGSWARM_PREFIX": "/patroni/x/"}, ["not below /patroni"]),
        ({"PGSWARM_DOCKER": "tcp://10.0.0.1:2375"}, ["not a local socket"]),
        ({"PGSWARM_SUBNET_POOL": "10.121.0.1/16"}, ["host bits"]),
        ({"PGSWARM_SUBNET_POOL": "10.121.0.0/28"}, ["too small"]),
        ({"PGSWARM_API_LISTEN": "7432"}, ["address:port"]),
        ({"PGSWARM_HOST": "Host 1"}, ["cannot be a host"]),
        ({"PGSWARM_ETCD_USER": "root"}, ["variable PGSWARM_ETCD_USER", "--etcd-password-file"]),
        ({"PGSWARM_ETCD_CERT": "/c"}, ["useless without etcdKey", "--etcd-key"]),
        ({"PGSWARM_ETCD_CA": "/c"}, ["etcdCa is given", "is not https"]),
        ({"PGSWARM_ETCD_CERT": "/c", "PGSWARM_ETCD_KEY": "/k"}, ["etcdCert is given", "is not https"]),
        (
            {"PGSWARM_INSTANCE_ETCD_KEY": "/k", "PGSWARM_ETCD_ENDPOINTS": "https://a:1"},
            ["useless without instanceEtcdCert", "--instance-etcd-cert"],
        ),
        (
            {
                "PGSWARM_INSTANCE_ETCD_CERT": "/c",
                "PGSWARM_INSTANCE_ETCD_KEY": "/k",
                "PGSWARM_ETCD_ENDPOINTS": "https://a:1",
                "PGSWARM_INSTANCE_ETCD_ENDPOINTS": "http://b:1",
            },
            ["variable PGSWARM_INSTANCE_ETCD_ENDPOINTS", "instanceEtcdCert is given", "http://b:1"],
        ),
        (
            {"PGSWARM_ETCD_ENDPOINTS": "https://a:1,http://b:1"},
            ["variable PGSWARM_ETCD_ENDPOINTS", "only one of them"],
        ),
        ({"PGSWARM_ETCD_PASSWORD": "hunter2"}, ["PGSWARM_ETCD_PASSWORD_FILE"]),
    ],
)
def test_a_bad_value_is_refused_with_its_variable_and_a_fix(
    environ: dict[str, str], words: list[str]
) -> None:
    said = "\n".join(problems(None, environ, {}))

    assert all(word in said for word in words), said


def test_all_problems_are_told_at_once_each_with_its_own_source(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("# first line\nhost: host-1\nresync: soon\n")

    said = problems(file, {"PGSWARM_LEASE_TTL": "x"}, {"log_level": "loud"})

    assert [text.split(":")[0] for text in said] == [
        "variable PGSWARM_LEASE_TTL",
        f"{file} line 3 (resync)",
        "flag --log-level",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lease_ttl: 10s", ["line 1", "unknown setting lease_ttl", "did you mean leaseTtl?"]),
        ("host: a\nhost: b", ["line 2", "host is set twice", "line 1"]),
        ("host: {a: b}", ["line 1", "do not nest"]),
        ("- host", ["not a mapping"]),
        ("host: 'a", ["not YAML"]),
    ],
)
def test_a_bad_file_is_refused_with_its_line_and_a_fix(text: str, words: list[str], tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)

    said = "\n".join(problems(file, {}, {}))

    assert str(file) in said
    assert all(word in said for word in words), said


def test_a_missing_file_is_an_error_when_it_was_named() -> None:
    assert "cannot be read" in problems(Path("/nowhere/config.yaml"), {}, {})[0]


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    said = "\n".join(problems(None, {"PGSWARM_ETCD_ENDPOINTS": "http://root:hunter2@etcd:2379"}, {}))

    assert "etcdPasswordFile" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("listen", ["0.0.0.0:7432", "10.0.0.1:7432", "[::]:7432", "host-1:7432"])
def test_the_api_beyond_loopback_needs_tls_or_the_word_insecure(listen: str) -> None:
    assert "--insecure" in problems(None, {"PGSWARM_API_LISTEN": listen}, {})[0]

    both = {"api_cert": "/c", "api_key": "/k"}
    assert load(None, {"PGSWARM_API_LISTEN": listen}, both).api_listen == listen
    assert load(None, {"PGSWARM_API_LISTEN": listen}, {"insecure": "true"}).api_listen == listen


@pytest.mark.parametrize("listen", ["127.0.0.1:7432", "127.8.8.8:1", "[::1]:7432", "localhost:0"])
def test_the_api_on_loopback_needs_nothing(listen: str) -> None:
    assert load(None, {"PGSWARM_API_LISTEN": listen}, {}).api_listen == listen


def test_the_password_is_read_from_its_file_and_does_not_show(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    config = load(None, {}, {"etcd_user": "root", "etcd_password_file": str(file)})
    password = config.etcd_password()

    assert password is not None
    assert password.reveal() == "hunter2"
    assert "hunter2" not in repr(config) + repr(password)


@pytest.mark.parametrize("text", [None, "\n"])
def test_a_password_file_that_is_missing_or_empty_is_an_error(text: str | None, tmp_path: Path) -> None:
    file = tmp_path / "password"
    if text is not None:
        file.write_text(text)
    config = load(None, {}, {"etcd_user": "root", "etcd_password_file": str(file)})

    with pytest.raises(ConfigError, match="password"):
        config.etcd_password()


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Config().host = "other"  # type: ignore[misc]


def test_the_file_is_the_flags_then_the_variables_then_the_default_if_it_exists(tmp_path: Path) -> None:
    there = tmp_path / "there.yaml"
    there.write_text("")

    assert choose_file("/flag", {"PGSWARM_CONFIG": "/variable"}, there) == Path("/flag")
    assert choose_file(None, {"PGSWARM_CONFIG": "/variable"}, there) == Path("/variable")
    assert choose_file(None, {}, there) == there
    assert choose_file(None, {}, tmp_path / "absent.yaml") is None


def test_a_misspelt_variable_is_noticed_and_the_labs_are_not() -> None:
    environ = {
        "PGSWARM_LEASE_TTl": "",
        "PGSWARM_API_1": "",
        "PGSWARM_HOST": "",
        "PGSWARM_HOTS": "",
        "HOME": "",
    }

    assert strangers(environ) == [
        "PGSWARM_HOTS (did you mean PGSWARM_HOST?)",
        "PGSWARM_LEASE_TTl (did you mean PGSWARM_LEASE_TTL?)",
    ]


def test_flags_are_named_after_settings() -> None:
    assert (flag_name("lease_ttl_s"), file_key("lease_ttl_s")) == ("--lease-ttl", "leaseTtl")
