"""The Messages API as the simulated provider speaks it, on a real socket."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.fakes.processes import SimulatedProvider
from tests.gateway.simulator.asking import MODEL, answer, ask, said, stream

WRITE = {"name": "Write", "input_schema": {"type": "object"}}


def test_a_plain_answer_says_that_it_is_simulated(client: httpx.Client) -> None:
    response = client.post("/v1/messages?beta=true", json=ask("hello"))
    assert response.headers["request-id"].startswith("req_sim_")
    assert response.headers["x-simulated-provider"] == "comptroller"
    message = response.json()
    assert message["id"].startswith("msg_sim_")
    assert (message["type"], message["role"], message["model"]) == ("message", "assistant", MODEL)
    assert message["content"][0]["text"].startswith("(simulated provider)")
    assert message["stop_reason"] == "end_turn"
    assert message["usage"]["output_tokens"] > 0


def test_a_conversation_that_it_should_hold_is_refused_as_the_sdk_understands_it(client: httpx.Client) -> None:
    response = client.post("/v1/messages", json=ask("x", thread={"type": "create"}))
    assert response.status_code == 400
    assert response.json()["error"]["details"]["error_code"] == "thread_unsupported_request"


def test_the_usage_that_is_scripted_is_the_usage_that_is_told(client: httpx.Client) -> None:
    prompt = (
        '[[sim: text="x" input_tokens=11 output_tokens=500 thinking_tokens=60 cache_read=22 cache_write_5m=33'
        " cache_write_1h=44 web_searches=2 speed=fast geo=us served_model=claude-other service_tier=priority]]"
    )
    message = answer(client, prompt)
    assert message["model"] == "claude-other"
    assert message["usage"] == {
        "input_tokens": 11,
        "cache_creation_input_tokens": 77,
        "cache_read_input_tokens": 22,
        "cache_creation": {"ephemeral_5m_input_tokens": 33, "ephemeral_1h_input_tokens": 44},
        "output_tokens": 500,
        "output_tokens_details": {"thinking_tokens": 60},
        "service_tier": "priority",
        "inference_geo": "us",
        "speed": "fast",
        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0},
    }
    events = stream(client, prompt)
    start, delta = events[0]["message"]["usage"], events[-2]["usage"]
    assert start["output_tokens"] == 1
    assert {"server_tool_use", "output_tokens_details"}.isdisjoint(start)
    assert {"cache_creation", "service_tier", "inference_geo", "speed"}.isdisjoint(delta)
    assert start | delta == message["usage"]


def test_one_scripted_prompt_class_makes_the_others_nothing(client: httpx.Client) -> None:
    usage = answer(client, "[[sim: cache_read=9]]")["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]) == (0, 9, 0)


def test_the_order_of_a_stream(client: httpx.Client) -> None:
    events = stream(client, '[[sim: text="hello world" thinking="hm" chunks=4]]')
    assert [event["type"] for event in events] == [
        *("message_start", "content_block_start", "ping", "content_block_delta", "content_block_delta"),
        *("content_block_stop", "content_block_start", *["content_block_delta"] * 4, "content_block_stop"),
        *("message_delta", "message_stop"),
    ]
    assert said(events) == "hello world"
    assert events[4]["delta"]["type"] == "signature_delta"


@pytest.mark.parametrize("chunks", [1, 7, 300])
def test_as_many_deltas_as_are_wanted(client: httpx.Client, chunks: int) -> None:
    events = stream(client, f"[[sim: chunks={chunks}]]")
    assert sum(event["type"] == "content_block_delta" for event in events) == chunks


def test_a_tool_call_and_the_step_after_its_result(client: httpx.Client) -> None:
    prompt = '[[sim: tool=Write file_path=/x content="a\\nb" text="Writing."]] [[sim: text="Done."]]'
    first = answer(client, prompt, tools=[WRITE])
    assert first["stop_reason"] == "tool_use"
    call = first["content"][1]
    assert (call["name"], call["input"]) == ("Write", {"file_path": "/x", "content": "a\nb"})
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "ok"}
    conversation = [
        {"role": "user", "content": prompt},
        {"role": "assistant", "content": first["content"]},
        {"role": "user", "content": [result, {"type": "text", "text": "<system-reminder>x</system-reminder>"}]},
    ]
    second = answer(client, conversation, tools=[WRITE])
    assert second["content"] == [{"type": "text", "text": "Done."}]
    third = answer(
        client, [*conversation, {"role": "assistant", "content": "Done."}, {"role": "user", "content": "Go on"}]
    )
    assert "Go on" in third["content"][0]["text"]


def test_a_streamed_tool_call_is_json_in_pieces(client: httpx.Client) -> None:
    events = stream(client, '[[sim: tool=Bash command="echo ünïcode and a rather long command line"]]')
    pieces = [event["delta"]["partial_json"] for event in events if event["type"] == "content_block_delta"]
    assert len(pieces) > 2
    assert json.loads("".join(pieces)) == {"command": "echo ünïcode and a rather long command line"}
    assert events[1]["content_block"]["input"] == {}


def test_the_subagent_tool_goes_by_the_name_the_client_offers(client: httpx.Client) -> None:
    message = answer(client, "[[sim: tool=Agent prompt=x]]", tools=[{"name": "Task"}])
    assert message["content"][0]["name"] == "Task"


def test_a_prompt_that_wants_a_file_gets_one(client: httpx.Client) -> None:
    system = [{"type": "text", "text": "# Environment\n - Primary working directory: /home/me/code\n - More"}]
    message = answer(client, "Please create a file named src/hello.py", tools=[WRITE], system=system)
    call = message["content"][1]
    assert call["input"]["file_path"] == "/home/me/code/src/hello.py"
    assert "simulated provider" in call["input"]["content"]
    assert answer(client, "Please create a file named x.py")["stop_reason"] == "end_turn"


def test_json_is_answered_where_a_schema_asks(client: httpx.Client) -> None:
    schema = {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "kind": {"enum": ["a", "b"]},
            "score": {"type": "integer", "minimum": 3},
            "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 2},
            "left": {"type": ["null", "string"]},
            "not_needed": {"type": "string"},
        },
        "required": ["title", "kind", "score", "tags", "left"],
    }
    wanted = {"title": "Simulated", "kind": "a", "score": 3, "tags": [False, False], "left": None}
    by_format = answer(
        client, "Name this: [[sim: status=500]]", output_config={"format": {"type": "json_schema", "schema": schema}}
    )
    assert json.loads(by_format["content"][0]["text"]) == wanted
    by_tool = answer(
        client, "x", tools=[{"name": "t", "input_schema": schema}], tool_choice={"type": "tool", "name": "t"}
    )
    assert by_tool["content"][0]["input"] == wanted


def test_the_cache_is_written_once_and_then_read(client: httpx.Client) -> None:
    system = [{"type": "text", "text": "s" * 4000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    first = answer(client, "hi", system=system)["usage"]
    second = answer(client, "hi", system=system)["usage"]
    assert first["cache_creation"]["ephemeral_1h_input_tokens"] == second["cache_read_input_tokens"] > 1000
    assert second["cache_creation_input_tokens"] == 0


def test_less_or_no_usage(client: httpx.Client) -> None:
    minimal = stream(client, "[[sim: usage=minimal output_tokens=5]]")
    assert minimal[-2]["usage"] == {"output_tokens": 5}
    assert "usage" in minimal[0]["message"]
    silent = stream(client, "[[sim: usage=none]]")
    assert "usage" not in silent[0]["message"]
    assert "usage" not in silent[-2]
    assert "usage" not in answer(client, "[[sim: usage=none]]")


def test_iterations_refusal_and_extra_keys(client: httpx.Client) -> None:
    message = answer(
        client,
        """[[sim: refusal iterations='[{"type":"compaction","input_tokens":5}]' extra='{"safeguard_results":[1]}']]""",
    )
    assert message["stop_reason"] == "refusal"
    assert message["usage"]["iterations"] == [{"type": "compaction", "input_tokens": 5}]
    assert message["safeguard_results"] == [1]


def test_counting_tokens_is_an_estimate_of_four_bytes_each(client: httpx.Client) -> None:
    response = client.post("/v1/messages/count_tokens", json={"model": MODEL, "messages": ask("x" * 4000)["messages"]})
    assert 1000 <= response.json()["input_tokens"] <= 1030


def test_models_come_in_pages(client: httpx.Client) -> None:
    first = client.get("/v1/models", params={"limit": 3}).json()
    assert first["has_more"]
    assert first["data"][0]["display_name"].endswith("(simulated)")
    rest = client.get("/v1/models", params={"limit": 1000, "after_id": first["last_id"]}).json()
    assert not rest["has_more"]
    back = client.get("/v1/models", params={"limit": 2, "before_id": rest["first_id"]}).json()
    assert [model["id"] for model in back["data"]] == [model["id"] for model in first["data"][-2:]]
    ids = [model["id"] for model in first["data"] + rest["data"]]
    assert len(set(ids)) == len(ids)
    assert client.get(f"/v1/models/{ids[0]}").json()["id"] == ids[0]
    assert client.get("/v1/models", params={"limit": 0}).status_code == 400
    assert client.get("/v1/models", params={"after_id": "gpt"}).status_code == 400


def test_a_head_request_is_answered(client: httpx.Client) -> None:
    assert client.head("/").status_code == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[]", "object"),
        (b"{}", "model"),
        (b'{"model":"m","messages":[],"max_tokens":1}', "at least one message"),
        (b'{"model":"m","messages":[{"role":"user","content":"x"}]}', "max_tokens"),
        (b'{"model":"m","messages":[{"role":"user","content":7}],"max_tokens":1}', "messages"),
        (json.dumps(ask("[[sim: colour=red]]")).encode(), "colour"),
    ],
)
def test_bad_bodies_are_named(client: httpx.Client, body: bytes, words: str) -> None:
    response = client.post("/v1/messages", content=body)
    assert response.status_code == 400
    envelope: dict[str, Any] = response.json()
    assert envelope["error"]["type"] == "invalid_request_error"
    assert words in envelope["error"]["message"]
    assert envelope["request_id"] == response.headers["request-id"]


def test_unknown_paths_and_too_large_bodies(client: httpx.Client, simulator: SimulatedProvider) -> None:
    response = client.get("/v1/nothing")
    assert (response.status_code, response.json()["error"]["type"]) == (404, "not_found_error")
    response = client.post("/v1/messages", content=b"x" * (32 * 1024 * 1024 + 1))
    assert (response.status_code, response.json()["error"]["type"]) == (413, "request_too_large")
    assert simulator.stats()["open"] == 0
