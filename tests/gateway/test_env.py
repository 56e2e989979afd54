"""Settings: every wrong value is a sentence, secrets come from files too, and missing ones are made once."""

from __future__ import annotations

import base64
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import env

KEY = base64.b64encode(bytes(32)).decode()


def read(tmp_path: Path, **environ: str) -> dict[str, Any]:
    return env.read({"COMPTROLLER_DATA_DIR": str(tmp_path / "data"), **environ})


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("DATABASE_URL", "mysql://h/x", "must start with postgresql:// or sqlite:///."),
        (
            "DATABASE_URL",
            "postgresql://u:p@h:db/x",
            "has a host or port that cannot be read; write postgresql://user:password@host:5432/name.",
        ),
        ("DATABASE_URL", "postgresql://u:p@h", "names no database; write postgresql://user:password@host:5432/name."),
        ("COMPTROLLER_SPOOL_WHEN_FULL", "stop", "must be refuse or continue, not 'stop'."),
        ("COMPTROLLER_SPOOL_MAX_BYTES", "1000000", "must be at least twice COMPTROLLER_SPOOL_SEGMENT_BYTES."),
        ("COMPTROLLER_SPOOL_SEGMENT_BYTES", "1", "must lie between 65536 and 1073741824, not 1."),
        ("REDIS_URL", "http://h", "must start with redis://, rediss:// or unix://."),
        ("CELERY_BROKER_URL", "sqs://", "must start with redis://, rediss://, amqp://, amqps:// or be filesystem://."),
        (
            "COMPTROLLER_SECRET_KEY",
            "short",
            "must be at least 32 characters long; `openssl rand -base64 48` makes one.",
        ),
        (
            "COMPTROLLER_KEY_PEPPER",
            "short",
            "must be at least 32 characters long; `openssl rand -base64 48` makes one.",
        ),
        ("COMPTROLLER_ENCRYPTION_KEYS", "nonsense", "must be a comma list of id:base64 pairs."),
        ("COMPTROLLER_ENCRYPTION_KEYS", "k1:###", "has a key 'k1' that is not base64."),
        ("COMPTROLLER_ENCRYPTION_KEYS", "k1:AAAA", "has a key 'k1' of 3 bytes; AES-256 needs 32."),
        ("COMPTROLLER_ENCRYPTION_KEYS", f"k:{KEY},k:{KEY}", "must name at least one key, and each id once."),
        (
            "COMPTROLLER_PUBLIC_URL",
            "gateway.acme.test",
            "must be an http:// or https:// address, not 'gateway.acme.test'.",
        ),
        ("COMPTROLLER_PUBLIC_URL", "https://a:b@acme.test", "must not carry a user name or password."),
        ("COMPTROLLER_PUBLIC_URL", "https://acme.test/?x=1", "must not carry a query or a fragment."),
        (
            "COMPTROLLER_PUBLIC_URL",
            "https://acme.test:port",
            "must be an http:// or https:// address with a valid port, not 'https://acme.test:port'.",
        ),
        (
            "COMPTROLLER_ALLOWED_HOSTS",
            "https://x.test",
            "must be a comma list of host names without scheme or port; 'https://x.test' is none.",
        ),
        (
            "COMPTROLLER_TRUSTED_PROXIES",
            "10.0.0.0/8, proxy",
            "must be a comma list of addresses such as 10.0.0.0/8; 'proxy' is none.",
        ),
        ("COMPTROLLER_ANTHROPIC_BASE_URL", "ftp://x", "must be an http:// or https:// address, not 'ftp://x'."),
        ("COMPTROLLER_SIMULATOR_URL", "x", "must be an http:// or https:// address, not 'x'."),
        ("COMPTROLLER_ALLOW_PRIVATE_UPSTREAMS", "maybe", "must be true or false, not 'maybe'."),
        ("COMPTROLLER_DRAIN_SECONDS", "soon", "must be a whole number, not 'soon'."),
        ("COMPTROLLER_DRAIN_SECONDS", "-1", "must lie between 0 and 3600, not -1."),
        ("COMPTROLLER_MAX_BODY_BYTES", "1", "must lie between 1024 and 1073741824, not 1."),
        ("COMPTROLLER_LOG_LEVEL", "loud", "must be DEBUG, INFO, WARNING or ERROR, not 'loud'."),
        ("ANTHROPIC_API_KEY", "sk-ant one\ntwo", "must be one line of visible ASCII characters without spaces."),
    ],
)
def test_a_wrong_value_is_a_sentence(tmp_path: Path, name: str, value: str, sentence: str) -> None:
    with pytest.raises(env.SettingsError) as refused:
        read(tmp_path, **{name: value})
    assert str(refused.value) == f"{name} {sentence}"


def test_every_wrong_value_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(env.SettingsError) as refused:
        read(tmp_path, COMPTROLLER_DEBUG="?", COMPTROLLER_LOG_LEVEL="?", DATABASE_URL="?")
    assert len(str(refused.value).splitlines()) == 3


@given(st.sampled_from([s for s in env.REFERENCE if s.secret]), st.text(st.characters(codec="utf-8"), min_size=12))
def test_no_sentence_repeats_a_secret(setting: env.Setting, value: str) -> None:
    sentence = ""
    try:
        setting.parse(value)
    except ValueError as error:
        sentence = str(error)
    assert value not in sentence


def test_the_start_ends_with_the_sentences_and_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        env={"COMPTROLLER_DATA_DIR": str(tmp_path), "COMPTROLLER_LOG_LEVEL": "loud", "COMPTROLLER_DEBUG": "?"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "Comptroller cannot start:",
        "COMPTROLLER_LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR, not 'loud'.",
        "COMPTROLLER_DEBUG must be true or false, not '?'.",
    ]


class TestFiles:
    def test_a_secret_comes_from_a_file_without_its_newline(self, tmp_path: Path) -> None:
        file = tmp_path / "key"
        file.write_text("sk-ant-1\n")
        assert read(tmp_path, ANTHROPIC_API_KEY_FILE=str(file))["ANTHROPIC_API_KEY"] == "sk-ant-1"

    def test_every_secret_and_no_other_setting_may(self, tmp_path: Path) -> None:
        file = tmp_path / "value"
        file.write_text("WARNING")
        assert read(tmp_path, COMPTROLLER_LOG_LEVEL_FILE=str(file))["COMPTROLLER_LOG_LEVEL"] == "INFO"
        for setting in env.REFERENCE:
            if setting.secret:
                with pytest.raises(env.SettingsError, match=f"{setting.name} cannot be read from {setting.name}_FILE"):
                    read(tmp_path, **{f"{setting.name}_FILE": str(tmp_path / "none")})

    def test_both_at_once_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(env.SettingsError, match="and ANTHROPIC_API_KEY_FILE are both set; keep one"):
            read(tmp_path, ANTHROPIC_API_KEY="a", ANTHROPIC_API_KEY_FILE="b")

    def test_an_empty_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        with pytest.raises(env.SettingsError, match="the file is empty"):
            read(tmp_path, REDIS_URL_FILE=str(tmp_path / "empty"))


class TestGeneratedSecrets:
    NAMES = ("COMPTROLLER_SECRET_KEY", "COMPTROLLER_KEY_PEPPER", "COMPTROLLER_ENCRYPTION_KEYS")

    def test_they_are_made_once_for_their_owner_alone(self, tmp_path: Path) -> None:
        first, second = read(tmp_path), read(tmp_path)
        folder = tmp_path / "data" / "secrets"
        assert [first[name] for name in self.NAMES] == [second[name] for name in self.NAMES]
        assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    def test_given_ones_leave_no_file(self, tmp_path: Path) -> None:
        values = dict.fromkeys(self.NAMES, "x" * 40) | {"COMPTROLLER_ENCRYPTION_KEYS": f"k1:{KEY}"}
        assert read(tmp_path, **values)["COMPTROLLER_ENCRYPTION_KEYS"] == (("k1", bytes(32)),)
        assert not (tmp_path / "data").exists()

    def test_a_folder_that_cannot_be_written_is_a_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "data").touch()
        with pytest.raises(env.SettingsError, match=r"COMPTROLLER_SECRET_KEY is not set and cannot be kept .* Set it"):
            read(tmp_path)

    def test_eight_processes_that_start_at_once_agree(self, tmp_path: Path) -> None:
        program = (
            "import sys; from gateway import env; sys.stdin.read(1);"
            f"v = env.read({{'COMPTROLLER_DATA_DIR': {str(tmp_path)!r}}});"
            "print(v['COMPTROLLER_SECRET_KEY'], v['COMPTROLLER_KEY_PEPPER'], v['COMPTROLLER_ENCRYPTION_KEYS'])"
        )
        processes = [
            subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for _ in range(8)
        ]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"x")
            process.stdin.flush()
        said = {process.communicate()[0] for process in processes}
        assert len(said) == 1
        assert len(said.pop()) > 150
        assert len(list((tmp_path / "secrets").iterdir())) == 3, "drafts are left behind"
