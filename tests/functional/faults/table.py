"""The fault matrix: who fails, when → what the client saw, the one log row, its settlement. docs/faults.md shows it.

`sees`: status and how the answer ended. `200 message_stop` and `200 error X` are whole event streams with that last
event, `200 message` a whole JSON message, `503 api_error` a whole error; `-` is a client that left, `closed` a
connection that ended without an answer.

`cost` of the row, and of the one ledger entry with the same amount: `exact` what the provider said (both figures are
those of `wire_provider`); `input` its exact input and the output that had come, estimated; `prompt` the estimated
prompt alone; `none` nothing, and no ledger entry. `exact+prompt`: a try that timed out is charged too. `exact or none`: the provider was asked, or not yet.
"""

# ruff: noqa: E501  (a row is one line)
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.wire_provider import BLOCK, BLOCK_STOP, EVENTS, START, WORDS, Script, accepts_nothing
from tests.functional.faults import clients as c
from tests.functional.faults import providers as p
from tests.functional.faults.clients import Client

LARGE = 4 << 20
"""A request that does not fit into the sockets' buffers."""


@dataclass(frozen=True)
class Fault:
    """One row."""

    who: str
    when: str
    provider: Script | None
    sees: str
    row: str
    """Status of the log row; empty: there is none."""
    cost: str
    tries: int = 1
    """How many tries the row tells of."""
    client: Client = c.reads_all
    stream: bool = True
    size: int = 0
    rows: int = 1
    then: Script | None = None
    """A second provider, which is asked where the first one failed."""
    headers: dict[str, str] = field(default_factory=dict)
    """What else the answer's headers must say."""

    @property
    def name(self) -> str:
        return f"{self.who}: {self.when}"


def _left(where: str, how: str) -> Client:
    return c.leaves(where, how)


NO_RETRY = {"x-should-retry": "false"}
MATRIX: tuple[Fault, ...] = (
    # --- nobody fails -----------------------------------------------------------------------------------------
    Fault("nobody", "a stream", p.good, "200 message_stop", "success", "exact"),
    Fault("nobody", "a message", p.good_whole, "200 message", "success", "exact", stream=False),
    Fault("nobody", "an event of 8 MB", p.one_big_event, "200 message_stop", "success", "exact"),
    Fault("nobody", "an answer of one-byte writes", p.bytewise, "200 message_stop", "success", "exact"),
    Fault("nobody", "a request of one-byte writes", p.good, "200 message_stop", "success", "exact", client=c.bytewise),
    Fault("nobody", "a compressed stream", p.squeezed, "200 message_stop", "success", "exact"),
    Fault("nobody", "early hints before the answer", p.early_hints, "200 message_stop", "success", "exact"),
    Fault("nobody", "an event of a later release", p.future_event, "200 message_stop", "success", "exact"),
    Fault("nobody", "the answer comes before the body is read", p.answers_after_the_head, "200 message_stop", "success", "exact", size=LARGE),
    Fault("nobody", "two requests over one connection", p.good, "200 message_stop", "success", "exact", client=c.twice, rows=2),
    Fault("nobody", "two pipelined requests", p.good, "200 message_stop", "success", "exact", client=c.pipelined, rows=2),
    Fault("nobody", "the body waits for 100 Continue", p.good, "200 message_stop", "success", "exact", client=c.expects_continue),
    Fault("nobody", "the client reads slowly", p.wide, "200 message_stop", "success", "exact", client=c.slowly),
    Fault("nobody", "two pipelined requests, read slowly", p.wide, "200 message_stop", "success", "exact", client=c.pipelined_slowly, rows=2),
    # --- the provider, before an answer -----------------------------------------------------------------------
    Fault("provider", "refuses the connection", p.refuses, "503 api_error", "error", "none", 3, headers=NO_RETRY),
    Fault("provider", "does not take the connection", accepts_nothing, "503 api_error", "error", "none", 3),
    Fault("provider", "closes at once", p.closes_at_once, "503 api_error", "error", "none", 3, headers=NO_RETRY),
    Fault("provider", "resets at once", p.resets_at_once, "503 api_error", "error", "none", 3),
    Fault("provider", "closes after the request's head", p.closes_after_the_head, "503 api_error", "error", "none", 3),
    Fault("provider", "resets inside the request's body", p.closes_inside_the_body, "503 api_error", "error", "none", 3, size=LARGE),
    Fault("provider", "closes after the request", p.closes_after_the_body, "503 api_error", "error", "none", 3),
    Fault("provider", "resets after the request", p.resets_after_the_body, "503 api_error", "error", "none", 3),
    Fault("provider", "never answers", p.never_answers, "503 api_error", "error", "prompt"),
    Fault("provider", "never answers a message", p.never_answers, "503 api_error", "error", "prompt", stream=False),
    Fault("provider", "never reads", p.never_reads, "503 api_error", "error", "none", size=LARGE),
    Fault("provider", "closes the kept connection under the next request", p.closes_under_the_next_request, "200 message_stop", "success", "exact", client=c.twice, rows=2),
    Fault("provider", "refuses a large body before it is read", p.refuses_before_reading, "413 request_too_large", "error", "none", size=LARGE),
    # --- the provider, with an error status -------------------------------------------------------------------
    Fault("provider", "says 400", p.says("400 Bad Request", "invalid_request_error"), "400 invalid_request_error", "error", "none"),
    Fault("provider", "says 400 without a body", p.says("400 Bad Request"), "503 api_error", "error", "none"),
    Fault("provider", "says 401", p.says("401 Unauthorized", "authentication_error"), "503 api_error", "error", "none", headers=NO_RETRY),
    Fault("provider", "says 401 without a body", p.says("401 Unauthorized"), "503 api_error", "error", "none"),
    Fault("provider", "says 429", p.says("429 Too Many Requests", "rate_limit_error", "retry-after: 7"), "429 rate_limit_error", "error", "none", headers={"retry-after": "7"}),
    Fault("provider", "says 429 without a body", p.says("429 Too Many Requests"), "429 rate_limit_error", "error", "none", headers={"retry-after": "5"}),
    Fault("provider", "says 500", p.says("500 Internal Server Error", "api_error"), "503 api_error", "error", "none", 3),
    Fault("provider", "says 500 without a body", p.says("500 Internal Server Error"), "503 api_error", "error", "none", 3),
    Fault("provider", "says 529", p.says("529 Overloaded", "overloaded_error"), "529 overloaded_error", "error", "none", 3, headers=NO_RETRY),
    Fault("provider", "says 529 without a body", p.says("529 Overloaded"), "529 overloaded_error", "error", "none", 3),
    Fault("provider", "says 302", p.says("302 Found", "", "location: http://127.0.0.1:9/"), "503 api_error", "error", "none"),
    # --- the provider, inside the answer's head ---------------------------------------------------------------
    Fault("provider", "answers garbage", p.garbage, "503 api_error", "error", "none"),
    Fault("provider", "resets after the status line", p.resets_after_the_status_line, "503 api_error", "error", "none", 3),
    Fault("provider", "resets after the headers", p.resets_after_the_headers, "503 api_error", "error", "prompt"),
    Fault("provider", "ends after the headers", p.closes_after_the_headers, "503 api_error", "error", "prompt"),
    Fault("provider", "sends a header of 1 MB", p.huge_header, "503 api_error", "error", "none"),
    # --- the provider, inside a stream ------------------------------------------------------------------------
    Fault("provider", "closes inside message_start", p.inside_message_start, "200 error api_error", "error", "prompt"),
    Fault("provider", "closes between two events", p.cut_after(*p.BEGUN), "200 error api_error", "error", "input"),
    Fault("provider", "resets between two events", p.cut_after(*p.BEGUN, how="reset"), "200 error api_error", "error", "input"),
    Fault("provider", "closes inside an event", p.inside_an_event, "200 error api_error", "error", "input"),
    Fault("provider", "closes before message_delta", p.cut_after(START, BLOCK, *WORDS, BLOCK_STOP), "200 error api_error", "error", "input"),
    Fault("provider", "closes between message_delta and message_stop", p.cut_after(*EVENTS[:-1]), "200 error api_error", "error", "exact"),
    Fault("provider", "ends the body before message_stop", p.ends_after(*p.BEGUN), "200 error api_error", "error", "input"),
    Fault("provider", "closes after message_stop, inside the chunks", p.cut_after(*EVENTS), "200 message_stop", "success", "exact"),
    Fault("provider", "falls silent", p.silent_inside, "200 error api_error", "error", "input"),
    Fault("provider", "breaks the chunks", p.bad_chunk, "200 error api_error", "error", "input"),
    Fault("provider", "sends pings alone", p.only_pings, "200 error api_error", "error", "prompt"),
    Fault("provider", "sends an error event first", p.error_first, "529 overloaded_error", "error", "none", tries=3),
    Fault("provider", "sends an error event inside", p.error_inside, "200 error overloaded_error", "error", "input"),
    Fault("provider", "breaks its compression", p.squeezed_and_broken, "503 api_error", "error", "prompt"),
    Fault("provider", "sends more than its answer", p.more_than_the_end, "200 message_stop", "success", "exact", client=c.twice, rows=2),
    # --- the provider, inside a message -----------------------------------------------------------------------
    Fault("provider", "sends less of a message than told", p.shorter_than_told, "503 api_error", "error", "prompt", stream=False),
    Fault("provider", "sends more of a message than told", p.longer_than_told, "503 api_error", "error", "prompt", stream=False),
    Fault("provider", "falls silent inside a message", p.silent_inside_a_message, "503 api_error", "error", "prompt", stream=False),
    Fault("provider", "answers JSON that is no message", p.no_message, "503 api_error", "error", "prompt", stream=False),
    # --- two providers ----------------------------------------------------------------------------------------
    Fault("first provider", "refuses the connection", p.refuses, "200 message_stop", "success", "exact", 2, then=p.good),
    Fault("first provider", "says 529", p.says("529 Overloaded", "overloaded_error"), "200 message_stop", "success", "exact", 2, then=p.good),
    Fault("first provider", "never answers", p.never_answers, "200 message_stop", "success", "exact+prompt", 2, then=p.good),
    Fault("first provider", "ends after the headers", p.closes_after_the_headers, "200 message_stop", "success", "exact+prompt", 2, then=p.good),
    Fault("first provider", "closes inside the stream", p.cut_after(*p.BEGUN), "200 error api_error", "error", "input", then=p.good),
    Fault("both providers", "refuse or say 529", p.refuses, "529 overloaded_error", "error", "none", 2, then=p.says("529 Overloaded", "overloaded_error")),
    # --- the client -------------------------------------------------------------------------------------------
    Fault("client", "leaves inside the head", p.good, "-", "", "none", client=_left("inside the head", "fin")),
    Fault("client", "resets inside the head", p.good, "-", "", "none", client=_left("inside the head", "rst")),
    Fault("client", "leaves inside the body", p.good, "-", "cancelled", "none", 0, client=_left("inside the body", "fin")),
    Fault("client", "resets inside the body", p.good, "-", "cancelled", "none", 0, client=_left("inside the body", "rst"), size=LARGE),
    Fault("client", "leaves right after the body", p.gate_before_the_answer, "-", "cancelled", "exact or none", client=_left("after the body", "fin")),
    Fault("client", "resets right after the body", p.gate_before_the_answer, "-", "cancelled", "exact or none", client=_left("after the body", "rst")),
    Fault("client", "leaves before the answer", p.gate_before_the_answer, "-", "cancelled", "exact", client=_left("before the answer", "fin")),
    Fault("client", "resets before the answer", p.gate_before_the_answer, "-", "cancelled", "exact", client=_left("before the answer", "rst")),
    Fault("client", "leaves after the headers", p.gate_after(START), "-", "cancelled", "exact", client=_left("after the headers", "fin")),
    Fault("client", "leaves inside the stream", p.gate_after(*p.BEGUN), "-", "cancelled", "exact", client=_left("inside the stream", "fin")),
    Fault("client", "resets inside the stream", p.gate_after(*p.BEGUN), "-", "cancelled", "exact", client=_left("inside the stream", "rst")),
    Fault("client", "leaves inside the stream with a pipelined request behind", p.gate_after(*p.BEGUN), "-", "cancelled", "exact", client=_left("with another request behind", "rst")),
    Fault("client", "leaves at the last byte", p.good, "-", "success", "exact", client=_left("at the last byte", "fin")),
    Fault("client", "resets at the last byte", p.good, "-", "success", "exact", client=_left("at the last byte", "rst")),
    Fault("client", "leaves before a message", p.gate_before_a_message, "-", "cancelled", "exact", client=_left("before the answer", "fin"), stream=False),
    Fault("client", "resets before a message", p.gate_before_a_message, "-", "cancelled", "exact", client=_left("before the answer", "rst"), stream=False),
    Fault("client", "leaves while a message comes", p.gate_inside_a_message, "-", "cancelled", "exact", client=_left("before the answer", "fin"), stream=False),
    Fault("client", "closes its sending side after the request", p.gate_before_the_answer, "closed", "cancelled", "exact", client=c.half_closes),
    Fault("client", "sends no HTTP", p.good, "400", "", "none", client=c.sends(b"hello there\r\n\r\n")),
    Fault("client", "sends two lengths", p.good, "400", "", "none", client=c.sends(b"POST /anthropic/v1/messages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer SECRET\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcde")),
    Fault("client", "sends a length and chunks", p.good, "400", "", "none", client=c.sends(b"POST /anthropic/v1/messages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer SECRET\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")),
    Fault("client", "sends no JSON", p.good, "400 invalid_request_error", "refused", "none", 0, client=c.sends(b"POST /anthropic/v1/messages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer SECRET\r\ncontent-length: 5\r\n\r\nhello")),
    # --- both -------------------------------------------------------------------------------------------------
    Fault("client, then provider", "leaves inside the stream, which is cut", p.gate_after(*p.BEGUN, ends="cut"), "-", "cancelled", "input", client=_left("inside the stream", "fin")),
    Fault("client, then provider", "leaves inside the stream, which falls silent", p.gate_after(*p.BEGUN, ends="silent"), "-", "cancelled", "input", client=_left("inside the stream", "rst")),
    Fault("client, then provider", "leaves before the answer, which is an error", p.gate_before_an_error, "-", "cancelled", "none", client=_left("before the answer", "fin")),
    Fault("client, then provider", "leaves before the answer, which never comes", p.never_answers, "-", "cancelled", "prompt", client=_left("before the answer", "fin")),
)  # fmt: skip


def markdown() -> str:
    """The table of docs/faults.md."""
    lines = [
        "| who fails | when | the client sees | log row | charged | tries |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for fault in MATRIX:
        kind = "" if fault.stream else " (no stream)"
        row = f"{fault.row} × {fault.rows}" if fault.rows > 1 else fault.row or "none"
        sees = f"`{fault.sees}`" if fault.sees != "-" else "-"
        lines.append(
            f"| {fault.who} | {fault.when}{kind} | {sees} | {row} | {fault.cost} | {fault.tries if fault.row else 0} |"
        )
    return "\n".join(lines) + "\n"


def write(document: Path) -> None:
    """Put the table into its place in the document."""
    text = document.read_text(encoding="utf-8")
    before, begin, rest = text.partition("<!-- matrix -->\n")
    _, end, after = rest.partition("<!-- end -->")
    if not (begin and end):
        raise SystemExit(f"{document} has no place for the table.")
    document.write_text(before + begin + markdown() + end + after, encoding="utf-8")


if __name__ == "__main__":
    write(Path(__file__).resolve().parents[3] / "docs" / "faults.md")
