"""The price refresh: what it proposes, what it refuses to read, and how a proposal is decided once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from governance.catalog import price_book, seed_prices
from governance.domain.usage import Usage
from governance.models import AuditEntry, Price, PriceProposal, Provider
from governance.price_download import fetch
from governance.pricing_source import PriceSourceError, read
from governance.selectors_prices import wanted_models
from governance.services.prices import AutoApproval, Refreshed, approve_proposal, propose, reject_proposal
from governance.tasks import refresh_prices

OPUS = {
    "litellm_provider": "anthropic",
    "input_cost_per_token": 4e-06,
    "output_cost_per_token": 2e-05,
    "cache_read_input_token_cost": 2e-07,
    "cache_creation_input_token_cost": 5e-06,
    "cache_creation_input_token_cost_above_1hr": 8e-06,
    "output_cost_per_token_batches": 1e-05,
    "provider_specific_entry": {"us": 1.1, "fast": 2},
    "search_context_cost_per_query": {"search_context_size_medium": 0.01},
    "max_input_tokens": 1000000,
    "max_output_tokens": 128000,
}
NEW = {**OPUS, "input_cost_per_token": 6e-06}
MODEL = "claude-opus-5-5"


def document(**entries: Any) -> bytes:
    models = {name.replace("_", "-"): entry for name, entry in entries.items()}
    return json.dumps(
        {"sample_spec": {"input_cost_per_token": 0.0}, "gpt-x": {"litellm_provider": "openai"}, **models}
    ).encode()


def refresh(content: bytes, rule: AutoApproval | None = None) -> Refreshed:
    return propose(source=read(content), origin="test", rule=rule)


def opus(**changes: Any) -> bytes:
    return document(claude_opus_5_5={**OPUS, **changes})


@pytest.fixture
def catalog(db: None) -> None:
    seed_prices()


@pytest.fixture
def finance(db: None) -> User:
    return User.objects.create_user("fiona")


@pytest.fixture
def proposal(catalog: None) -> PriceProposal:
    refresh(opus(input_cost_per_token=3e-06, cache_read_input_token_cost=3e-07))
    return PriceProposal.objects.get()


# --- what is proposed ----------------------------------------------------------------------------------------


def test_no_difference_no_proposal(catalog: None) -> None:
    done = refresh(opus())
    assert (done.listed, done.unchanged, done.proposed) == (1, 1, 0)
    assert not PriceProposal.objects.exists()


def test_a_difference_is_proposed_with_old_new_and_percent(proposal: PriceProposal) -> None:
    assert (proposal.model_id, proposal.platform, proposal.status) == (MODEL, "anthropic", "pending")
    assert proposal.current == Price.objects.get(model_id=MODEL, platform="anthropic")
    assert proposal.changes == [
        {"field": "input", "old": "4", "new": "3", "percent": "-25.00"},
        {"field": "cache_read", "old": "0.2", "new": "0.3", "percent": "50.00"},
    ]
    assert Price.objects.filter(model_id=MODEL, platform="anthropic").count() == 1


def test_tiers_and_factors_are_compared_one_by_one(catalog: None) -> None:
    refresh(
        document(
            claude_opus_5_5={
                **OPUS,
                "provider_specific_entry": {"us": 1.2},
                "input_cost_per_token_above_200k_tokens": 8e-06,
                "output_cost_per_token_above_200k_tokens": 4e-05,
            }
        )
    )
    changes = {c["field"]: (c["old"], c["new"], c["percent"]) for c in PriceProposal.objects.get().changes}
    assert changes["input above 200,000 tokens"] == (None, "8", None)
    assert changes["cache_write_1h above 200,000 tokens"] == (None, "16", None)
    assert changes["factor us"] == ("1.1", "1.2", "9.09")
    # What the source leaves out is no change.
    assert "factor fast" not in changes


def test_a_source_that_leaves_out_factors_and_limits_proposes_nothing(catalog: None) -> None:
    silent = {"provider_specific_entry", "output_cost_per_token_batches", "max_input_tokens", "max_output_tokens"}
    done = refresh(document(claude_opus_5_5={key: value for key, value in OPUS.items() if key not in silent}))
    assert (done.unchanged, done.proposed) == (1, 0)


def test_what_a_source_leaves_out_is_kept_when_its_change_is_approved(proposal: PriceProposal, finance: User) -> None:
    proposal.delete()
    refresh(document(claude_opus_5_5={k: v for k, v in NEW.items() if k != "provider_specific_entry"}))
    price = approve_proposal(proposal=PriceProposal.objects.get(), actor=finance)
    assert price.multipliers == {"batch": "0.5", "fast": "2", "us": "1.1"}
    assert price.input == 6


def test_a_new_model_is_proposed(catalog: None) -> None:
    refresh(document(claude_opus_6=NEW))
    made = PriceProposal.objects.get()
    assert (made.model_id, made.current) == ("claude-opus-6", None)
    assert made.changes[0] == {"field": "input", "old": None, "new": "6", "percent": None}


def test_a_tenfold_jump_is_merely_proposed(catalog: None) -> None:
    refresh(opus(input_cost_per_token=4e-05), AutoApproval(percent=Decimal(100)))
    assert PriceProposal.objects.get().status == "pending"


def test_models_that_the_source_lacks_are_left_alone(catalog: None) -> None:
    before = Price.objects.count()
    refresh(opus())
    assert Price.objects.count() == before


def test_running_again_changes_nothing(proposal: PriceProposal) -> None:
    done = refresh(opus(input_cost_per_token=3e-06, cache_read_input_token_cost=3e-07))
    assert (done.proposed, done.waiting) == (0, 1)
    assert PriceProposal.objects.get() == proposal


def test_a_newer_difference_replaces_the_waiting_one(proposal: PriceProposal) -> None:
    refresh(opus(input_cost_per_token=2e-06))
    proposal.refresh_from_db()
    assert proposal.status == "superseded"
    newer = PriceProposal.objects.get(status="pending")
    assert newer.changes == [{"field": "input", "old": "4", "new": "2", "percent": "-50.00"}]


def test_a_source_that_agrees_again_withdraws_the_waiting_one(proposal: PriceProposal) -> None:
    assert refresh(opus()).withdrawn == 1
    proposal.refresh_from_db()
    assert proposal.status == "superseded"


def test_a_price_entered_for_a_later_date_is_no_news(catalog: None) -> None:
    current = Price.objects.get(model_id=MODEL, platform="anthropic")
    later = Price.objects.get(pk=current.pk)
    later.pk, later.input, later.effective_from = None, Decimal(3), timezone.now() + timedelta(days=3)
    later.save()
    assert refresh(opus(input_cost_per_token=3e-06)).unchanged == 1
    assert refresh(opus()).unchanged == 1


def test_known_errors_of_the_source_are_not_proposed(catalog: None) -> None:
    fast = {**OPUS, "input_cost_per_token": 5e-06, "output_cost_per_token": 2.5e-05}
    fast |= {"cache_read_input_token_cost": 5e-07, "cache_creation_input_token_cost": 6.25e-06}
    fast |= {"cache_creation_input_token_cost_above_1hr": 1e-05, "output_cost_per_token_batches": 1.25e-05}
    done = refresh(document(claude_opus_4_7={**fast, "provider_specific_entry": {"us": 1.1}}))
    assert (done.proposed, done.unchanged) == (0, 1)


# --- what approves itself ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("percent", "status"), [(0, "pending"), (24, "pending"), (25, "auto_approved")])
def test_changes_inside_the_bound_approve_themselves(catalog: None, percent: int, status: str) -> None:
    refresh(opus(input_cost_per_token=3e-06), AutoApproval(percent=Decimal(percent)))
    made = PriceProposal.objects.get()
    assert made.status == status
    assert Price.objects.filter(model_id=MODEL, platform="anthropic").count() == 1 + (status != "pending")
    if status == "auto_approved":
        entry = AuditEntry.objects.get(action="price_proposal.auto_approved")
        assert entry.actor_name == "price refresh"
        assert entry.changes == {"input": ["4", "3"]}


def test_new_models_approve_themselves_only_where_the_setting_says_so(catalog: None) -> None:
    refresh(document(claude_opus_6=NEW), AutoApproval(percent=Decimal(100)))
    assert PriceProposal.objects.get().status == "pending"
    refresh(document(claude_opus_7=NEW), AutoApproval(new_models=True))
    assert Price.objects.get(model_id="claude-opus-7").input == 6


def test_what_has_no_percent_never_approves_itself(catalog: None) -> None:
    refresh(opus(input_cost_per_token_above_200k_tokens=8e-06, output_cost_per_token_above_200k_tokens=4e-05),
            AutoApproval(percent=Decimal(100)))  # fmt: skip
    assert PriceProposal.objects.get().status == "pending"


# --- decisions ----------------------------------------------------------------------------------------------


def test_approval_makes_a_later_row_and_leaves_the_old_one(proposal: PriceProposal, finance: User) -> None:
    before = timezone.now() - timedelta(seconds=1)
    price = approve_proposal(proposal=proposal, actor=finance, note="checked on the price page")
    proposal.refresh_from_db()
    assert (proposal.status, proposal.decided_by, proposal.price) == ("approved", finance, price)
    assert proposal.current.input == 4
    book = price_book()
    usage = Usage(input_tokens=1_000_000)
    assert book.charge("anthropic", MODEL, usage, before).nano_usd == 4_000_000_000
    assert book.charge("anthropic", MODEL, usage, timezone.now()).nano_usd == 3_000_000_000
    assert book.charge("anthropic", MODEL, usage, timezone.now()).price_id == price.pk
    entry = AuditEntry.objects.get(action="price_proposal.approved")
    assert (entry.actor_name, entry.note) == ("fiona", "checked on the price page")
    assert entry.changes["input"] == ["4", "3"]


def test_approval_for_a_later_date(proposal: PriceProposal, finance: User) -> None:
    moment = timezone.now() + timedelta(days=10)
    price = approve_proposal(proposal=proposal, actor=finance, effective_from=moment)
    assert price.effective_from == moment
    assert price_book().find("anthropic", MODEL, timezone.now()).id == proposal.current_id  # type: ignore[union-attr]


def test_a_change_cannot_begin_in_the_past(proposal: PriceProposal, finance: User) -> None:
    with pytest.raises(ValidationError, match="cannot begin in the past"):
        approve_proposal(proposal=proposal, actor=finance, effective_from=timezone.now() - timedelta(days=1))
    with pytest.raises(ValidationError, match="must begin after"):
        approve_proposal(proposal=proposal, actor=finance, effective_from=timezone.now() - timedelta(days=9000))
    proposal.refresh_from_db()
    assert proposal.status == "pending"
    assert not AuditEntry.objects.exists()


def test_a_new_model_may_be_priced_from_the_past_on(catalog: None, finance: User) -> None:
    refresh(document(claude_opus_6=NEW))
    moment = timezone.now() - timedelta(days=30)
    price = approve_proposal(proposal=PriceProposal.objects.get(), actor=finance, effective_from=moment)
    assert price.effective_from == moment


def test_a_rejected_change_is_not_proposed_again(proposal: PriceProposal, finance: User) -> None:
    reject_proposal(proposal=proposal, actor=finance, note="a typo of theirs")
    assert AuditEntry.objects.get().action == "price_proposal.rejected"
    done = refresh(opus(input_cost_per_token=3e-06, cache_read_input_token_cost=3e-07))
    assert (done.proposed, done.rejected_before) == (0, 1)
    assert refresh(opus(input_cost_per_token=2e-06)).proposed == 1


def test_a_decision_is_made_once(proposal: PriceProposal, finance: User) -> None:
    again = PriceProposal.objects.get()
    approve_proposal(proposal=proposal, actor=finance)
    with pytest.raises(ValidationError, match="already decided"):
        reject_proposal(proposal=again, actor=finance)
    with pytest.raises(ValidationError, match="already decided"):
        approve_proposal(proposal=again, actor=finance)
    assert Price.objects.filter(model_id=MODEL, platform="anthropic").count() == 2


def test_a_proposal_that_the_catalog_has_overtaken_is_refused(proposal: PriceProposal, finance: User) -> None:
    other = Price.objects.get(pk=proposal.current_id)
    other.pk, other.input, other.effective_from = None, Decimal(1), timezone.now()
    other.save()
    with pytest.raises(ValidationError, match="has changed since"):
        approve_proposal(proposal=proposal, actor=finance)


@pytest.mark.django_db(transaction=True)
def test_of_two_approvers_at_once_one_wins() -> None:
    seed_prices()
    refresh(opus(input_cost_per_token=3e-06))
    people = [User.objects.create_user(name) for name in ("fiona", "frank")]
    proposals = [PriceProposal.objects.get() for _ in people]
    together = threading.Barrier(2)
    outcomes: list[str] = []

    def decide(proposal: PriceProposal, actor: User) -> None:
        together.wait(10)
        try:
            approve_proposal(proposal=proposal, actor=actor)
            outcomes.append("won")
        except ValidationError:
            outcomes.append("lost")
        finally:
            connection.close()

    threads = [threading.Thread(target=decide, args=pair) for pair in zip(proposals, people, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["lost", "won"]
    assert Price.objects.filter(model_id=MODEL, platform="anthropic").count() == 2


# --- bad sources ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON"),
        (b"<html>404</html>", "not JSON"),
        (opus()[:-20], "truncated"),
        (b"[" * 200_000, "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "no Claude prices"),
        (document(), "no Claude prices"),
        (opus(input_cost_per_token=-4e-06), "cannot be"),
        (opus(input_cost_per_token=0), "cannot be"),
        (opus(output_cost_per_token=0.0), "cannot be"),
        (opus(output_cost_per_token=None), "cannot be"),
        (opus(cache_read_input_token_cost=-1e-7), "cannot be"),
        (opus(input_cost_per_token="4e-06"), "not a number"),
        (opus(input_cost_per_token=True), "not a number"),
        (opus(input_cost_per_token=float("nan")), "no number"),
        (opus(input_cost_per_token=4.0), "absurd"),
        (opus(input_cost_per_token=1e300), "not a number that a price can be"),
        (opus(provider_specific_entry={"fast": 0}), "factor fast"),
        (opus(provider_specific_entry=[2]), "should be an object"),
        (opus(search_context_cost_per_query={"search_context_size_medium": 500}), "web search"),
        (opus(max_input_tokens=-1), "tokens cannot be"),
        (opus(input_cost_per_token_above_200k_tokens=0), "cannot be"),
        (json.dumps({"models": [{"id": "claude-x"}]}).encode(), "lacks"),
        (json.dumps({"models": ["claude-x"]}).encode(), "is none"),
    ],
)
def test_a_source_that_is_broken_or_absurd_changes_nothing_and_says_why(
    db: None, tmp_path: Path, content: bytes, reason: str, caplog: Any
) -> None:
    file = tmp_path / "prices.json"
    file.write_bytes(content)
    result = refresh_prices(str(file))
    assert reason in result["error"]
    assert reason in caplog.text
    assert not Price.objects.exists()
    assert not PriceProposal.objects.exists()


def test_one_wrong_entry_spoils_the_file(catalog: None) -> None:
    with pytest.raises(PriceSourceError):
        read(document(claude_opus_6=NEW, claude_opus_7={**NEW, "input_cost_per_token": -1}))


def test_other_vendors_and_provisioned_throughput_are_not_read() -> None:
    source = read(
        document(
            claude_opus_6=NEW,
            claude_v9={"litellm_provider": "bedrock", "input_cost_per_second": 0.01},
            openrouter_claude={**NEW, "litellm_provider": "openrouter"},
        )
    )
    assert [listing.model_id for listing in source.listings] == ["claude-opus-6"]
    assert source.left_out == {"no price per token (provisioned throughput)": 1}


def test_a_missing_file_and_one_too_large(tmp_path: Path) -> None:
    with pytest.raises(PriceSourceError, match="cannot be read"):
        fetch(str(tmp_path / "none.json"))
    large = tmp_path / "large.json"
    large.write_bytes(b" " * 1001)
    with pytest.raises(PriceSourceError, match="larger than 1,000 bytes"):
        fetch(str(large), max_bytes=1000)
    assert fetch(f"file://{large}", max_bytes=1001) == b" " * 1001


# --- over HTTP ----------------------------------------------------------------------------------------------


class _Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        match self.path:
            case "/prices.json":
                body = opus(input_cost_per_token=3e-06)
                self._answer(200, body, len(body))
            case "/moved":
                self.send_response(302)
                self.send_header("Location", "/prices.json")
                self.end_headers()
            case "/cut":
                self._answer(200, opus()[:50], 5000)
            case "/endless":
                self._answer(200, b" " * 100_000, 10**12)
            case _:
                self._answer(404, b"no", 2)

    def _answer(self, status: int, body: bytes, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_task_reads_an_address(catalog: None, site: str) -> None:
    assert refresh_prices(f"{site}/prices.json")["proposed"] == 1
    assert refresh_prices(f"{site}/moved")["waiting"] == 1
    proposal = PriceProposal.objects.get()
    assert proposal.source == f"{site}/prices.json"
    assert len(proposal.version) == 16


@pytest.mark.parametrize(
    ("path", "reason"), [("/none", "answered 404"), ("/cut", "cannot be read"), ("/endless", "larger than")]
)
def test_an_address_that_gives_nothing_usable(site: str, path: str, reason: str) -> None:
    with pytest.raises(PriceSourceError, match=reason):
        fetch(site + path, max_bytes=50_000)


def test_an_address_where_nobody_answers(catalog: None, site: str) -> None:
    assert "cannot be read" in refresh_prices("http://127.0.0.1:9/prices.json")["error"]
    assert "cannot be read" in refresh_prices("http://[bad/prices.json")["error"]


def test_the_command(catalog: None, tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_bytes(opus(input_cost_per_token=3e-06))
    output = StringIO()
    call_command("refresh_prices", str(file), stdout=output)
    assert "1  proposed" in output.getvalue()
    file.write_bytes(b"{")
    with pytest.raises(CommandError, match="Nothing was changed"):
        call_command("refresh_prices", str(file))
    call_command("refresh_prices", "--shipped", stdout=output)
    assert "0 shipped prices inserted" in output.getvalue()


# --- models that are not Claude's ----------------------------------------------------------------------------

GPT = {
    "litellm_provider": "openai",
    "input_cost_per_token": 1.25e-06,
    "output_cost_per_token": 1e-05,
    "cache_read_input_token_cost": 1.25e-07,
    "input_cost_per_token_above_272k_tokens": 2.5e-06,
    "max_input_tokens": 400000,
    "max_output_tokens": 128000,
    "mode": "chat",
}


def others() -> bytes:
    models = {
        "gpt-5": GPT,
        "gpt-5-mini": GPT,
        "openrouter/moonshotai/kimi-k3": {**GPT, "litellm_provider": "openrouter", "cache_read_input_token_cost": None},
        "gemini/gemini-3-pro": {**GPT, "litellm_provider": "gemini"},
        "gpt-free": {**GPT, "input_cost_per_token": 0},
        MODEL: OPUS,
    }
    return json.dumps(models).encode()


def provider(name: str, kind: str, model: str) -> Provider:
    return Provider.objects.create(name=name, kind=kind, model_map={"claude-*": model})


def test_only_models_that_somebody_wants_are_proposed(catalog: None) -> None:
    provider("openai", "openai", "gpt-5")
    provider("router", "openai", "moonshotai/kimi-k3")
    provider("free", "openai", "gpt-free")
    off = provider("google", "gemini", "gemini-3-pro")
    Provider.objects.filter(pk=off.pk).update(is_active=False)
    assert wanted_models() == {
        "openai": {"gpt-5", "moonshotai/kimi-k3", "gpt-free"},
        "gemini": frozenset(),
    }
    source = read(others(), wanted_models())
    assert source.left_out == {"a wanted model whose price cannot be read": 1}
    done = propose(source=source, origin="test")
    assert (done.listed, done.proposed, done.unchanged) == (3, 2, 1)
    proposals = {each.model_id: each.proposed for each in PriceProposal.objects.filter(platform="openai")}
    assert set(proposals) == {"gpt-5", "moonshotai/kimi-k3"}
    rates = {"input": "1.25", "output": "10", "cache_read": "0.125", "cache_write_5m": "1.25", "cache_write_1h": "1.25"}
    assert {kind: proposals["gpt-5"][kind] for kind in rates} == rates
    above = {**rates, "input": "2.5", "cache_write_5m": "2.5", "cache_write_1h": "2.5"}
    assert proposals["gpt-5"]["tiers"] == [{"above_prompt_tokens": 272000, **above}]
    assert proposals["gpt-5"]["multipliers"] == {}
    assert proposals["moonshotai/kimi-k3"]["cache_read"] == "1.25"


def test_an_approved_price_of_another_model_charges_and_is_followed(catalog: None, finance: User) -> None:
    provider("openai", "openai", "gpt-5")
    dearest = price_book().cost("openai", "gpt-5", Usage(input_tokens=1_000_000), timezone.now())
    assert dearest.quality == "unpriced"
    propose(source=read(others(), wanted_models()), origin="test")
    approve_proposal(proposal=PriceProposal.objects.get(model_id="gpt-5"), actor=finance)
    usage = Usage(input_tokens=100_000, cache_read_tokens=100_000, output_tokens=1_000)
    cost = price_book().cost("openai", "gpt-5", usage, timezone.now() + timedelta(seconds=1))
    assert (cost.quality, cost.nano_usd) == ("exact", 125_000_000 + 12_500_000 + 10_000_000)
    Provider.objects.all().delete()
    assert wanted_models()["openai"] == {"gpt-5"}
    again = propose(source=read(others(), wanted_models()), origin="test")
    assert (again.proposed, again.unchanged) == (0, 2)


def test_a_dear_model_of_another_maker_changes_no_unpriced_claude(catalog: None, finance: User) -> None:
    usage = Usage(output_tokens=1_000_000)
    before = price_book().cost("anthropic", "claude-unheard-of", usage, timezone.now())
    provider("openai", "openai", "gpt-5")
    dear = json.dumps({"gpt-5": {**GPT, "output_cost_per_token": 6e-4}, MODEL: OPUS}).encode()
    propose(source=read(dear, wanted_models()), origin="test")
    approve_proposal(proposal=PriceProposal.objects.get(model_id="gpt-5"), actor=finance)
    after = price_book().cost("anthropic", "claude-unheard-of", usage, timezone.now() + timedelta(seconds=1))
    assert after.nano_usd == before.nano_usd
