"""The option catalogue and what it refuses."""

import pytest

from stayline.domain.objects import ApplicationType, ConfigObject, ObjectType
from stayline.domain.option_catalogue import CATALOGUE
from stayline.domain.option_spec import ValueKind
from stayline.domain.options import check_option, default_of

WORKSPACE = ConfigObject(type=ObjectType.APPLICATION, name="W", app_type=ApplicationType.WORKSPACE)
IXN = ConfigObject(type=ObjectType.APPLICATION, name="I", app_type=ApplicationType.INTERACTION_SERVER)
CHAT = ConfigObject(type=ObjectType.APPLICATION, name="C", app_type=ApplicationType.CHAT_SERVER)
TENANT = ConfigObject(type=ObjectType.TENANT, name="T")
SECTION = "interaction-workspace"

WS = "interaction-workspace"


@pytest.mark.parametrize("spec", CATALOGUE, ids=lambda spec: f"{spec.section}/{spec.key}")
def test_every_default_is_valid_and_every_row_says_what_it_means(spec: object) -> None:
    from stayline.domain.option_spec import OptionSpec

    assert isinstance(spec, OptionSpec)
    # A list may be empty, and so may a site: that is what "unset" means.
    empty_is_fine = spec.kind in (ValueKind.LIST, ValueKind.SITE, ValueKind.TEXT, ValueKind.ADDRESS)
    assert spec.accepts(spec.default) or (empty_is_fine and spec.default == "")
    assert len(spec.meaning) > 20
    assert spec.on
    assert spec.expected()


def test_no_option_is_there_twice_for_one_kind_of_object() -> None:
    seen = [(spec.section, spec.key, target) for spec in CATALOGUE for target in spec.on]
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize(
    ("obj", "section", "key", "value", "code", "fix"),
    [
        (WORKSPACE, SECTION, "warm-standby.retry-dely", "2", "option.unknown", "warm-standby.retry-delay"),
        (WORKSPACE, "interaction-workspce", "x", "2", "option.unknown_section", "interaction-workspace"),
        (WORKSPACE, SECTION, "warm-standby.retry-delay", "soon", "option.value", "number"),
        (WORKSPACE, SECTION, "warm-standby.retry-delay", "2,-1", "option.value", "0 to 86400"),
        (WORKSPACE, SECTION, "disaster-recovery.eservices-site", "Site;A", "option.value", "site name"),
        (WORKSPACE, SECTION, "interaction.unconditional-force-close", "yes", "option.value", "true or false"),
        (
            WORKSPACE,
            SECTION,
            "disaster-recovery.site",
            "Site_A",
            "option.wrong_object",
            "Application Cluster",
        ),
        (IXN, "settings", "delivering-timeout", "0", "option.value", "1 to 86400"),
        (IXN, "settings", "allow-multiple-agent-connections", "perhaps", "option.value", "force-logout"),
        (IXN, "settings", "flex-disconnect-timeout", "5", "option.wrong_object", "Chat Server"),
        (TENANT, SECTION, "eservices.session-restore-mediatype", "chat,fax", "option.value", "email"),
        (IXN, "settings", "delivering-timeout", "1" * 5000, "option.value", ""),
        (IXN, "", "delivering-timeout", "1", "option.unknown", ""),
        (CHAT, "settings", "public-address", "https://a.example/; script-src *", "option.value", "https://"),
        (CHAT, "settings", "public-address", "a.example", "option.value", "https://"),
        (CHAT, "settings", "max-starts-per-minute", "0", "option.value", "1 to 10"),
        (IXN, "settings", "behind-tls-proxy", "true", "option.wrong_object", "Chat Server"),
    ],
)
def test_what_is_wrong_is_refused_with_its_fix(
    obj: ConfigObject, section: str, key: str, value: str, code: str, fix: str
) -> None:
    refusal = check_option(obj, section, key, value)
    assert refusal is not None
    assert refusal.code == code
    assert fix in refusal.fix
    assert refusal.field == f"{section}/{key}"


@pytest.mark.parametrize(
    ("obj", "section", "key", "value"),
    [
        (WORKSPACE, SECTION, "warm-standby.retry-delay", "1, 2.5,10"),
        (WORKSPACE, SECTION, "disaster-recovery.eservices-site", "Site_A @ home 2"),
        (WORKSPACE, SECTION, "disaster-recovery.eservices-site", ""),
        (TENANT, SECTION, "disaster-recovery.eservices-random-delay-range", "0"),
        (TENANT, "dispositions", "anything-at-all", "What agents read"),
        (IXN, "x-our-crm", "any", "thing"),
    ],
)
def test_what_is_right_is_accepted(obj: ConfigObject, section: str, key: str, value: str) -> None:
    assert check_option(obj, section, key, value) is None


def test_defaults_are_those_of_the_original() -> None:
    assert default_of(SECTION, "disaster-recovery.eservices-random-delay-range") == "5"
    assert default_of(SECTION, "warm-standby.retry-delay") == "10"
    assert default_of(SECTION, "warm-standby.reconnection-random-delay-range") == "2"
    assert default_of("settings", "delivering-timeout", ApplicationType.INTERACTION_SERVER) == "30"
    assert default_of("settings", "core-grace", ApplicationType.INTERACTION_SERVER) == ""


@pytest.mark.parametrize(
    "value", ["", "https://chat.example", "https://[2001:db8::1]:8443", "http://127.0.0.1:80"]
)
def test_a_public_address_is_an_origin(value: str) -> None:
    assert check_option(CHAT, "settings", "public-address", value) is None


@pytest.mark.parametrize(
    ("section", "key", "default"),
    [
        (WS, "disaster-recovery.eservices-site", ""),
        (WS, "disaster-recovery.eservices-random-delay-range", "5"),
        (WS, "disaster-recovery.site", ""),
        (WS, "disaster-recovery.enabled", "false"),
        (WS, "disaster-recovery.timeout", "60"),
        (WS, "disaster-recovery.preferred-site", ""),
        (WS, "disaster-recovery.peer-site", ""),
        (WS, "warm-standby.reconnection-random-delay-range", "2"),
        (WS, "warm-standby.retry-delay", "10"),
        (WS, "eservices.session-restore-timeout", "60"),
        ("settings", "handling-timeout", "180"),
        ("settings", "delivering-timeout", "30"),
        ("settings", "max-interactions-per-snapshot", "500"),
        ("transport", "ip-version", "4,6"),
    ],
)
def test_options_of_the_original_keep_name_and_default(section: str, key: str, default: str) -> None:
    assert [spec.default for spec in CATALOGUE if (spec.section, spec.key) == (section, key)] == [default]
