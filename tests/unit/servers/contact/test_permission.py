"""Who may call what of the Contact Server."""

import pytest

from stayline.link.messages.envelope import Identity
from stayline.servers.contact.permission import PERSONS, may_call

ADA = Identity(user="ada", tenant="Environment", roles=["agent", "administrator"], expires=2e9)
CHAT = {"chat.create", "chat.append", "chat.resume", "chat.subscribe", "chat.settled", "contact.identify"}


@pytest.mark.parametrize("method", sorted(CHAT | {"transcript.get"}))
def test_chats_are_the_chat_servers(method: str) -> None:
    assert may_call(method, "Chat Server", None) is None
    for other in ("Contact Server Proxy", "Interaction Server", "Solution Control Server", "Operator", ""):
        refusal = may_call(method, other, None)
        assert refusal is not None, other
        assert refusal.code == "method.forbidden"


def test_only_a_proxy_brings_channels_back() -> None:
    assert may_call("channels.restore", "Contact Server Proxy", None) is None
    assert may_call("channels.restore", "Chat Server", None) is not None
    assert may_call("channels.restore", "Contact Server Proxy", ADA) is not None


def test_persons_reach_contacts_and_transcripts_and_nothing_else() -> None:
    for method in PERSONS:
        assert may_call(method, "Contact Server Proxy", ADA) is None
    for method in CHAT - PERSONS:
        assert may_call(method, "Contact Server Proxy", ADA) is not None


@pytest.mark.parametrize("method", sorted(PERSONS))
def test_a_person_without_a_tenant_reads_no_tenants_data(method: str) -> None:
    nobody = Identity(user="eve", tenant="", roles=["agent"], expires=2e9)
    refusal = may_call(method, "Contact Server Proxy", nobody)
    assert refusal is not None
    assert refusal.code == "tenant.missing"
