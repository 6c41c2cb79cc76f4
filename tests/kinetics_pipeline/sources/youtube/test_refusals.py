"""What is read from texts alone: the order of the rules, redaction, Retry-After, and options that are refused."""

from __future__ import annotations

import email.utils
import pickle
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.records import OUTCOMES
from kinetics_pipeline.sources.base import is_signal
from kinetics_pipeline.sources.http.addresses import is_public
from kinetics_pipeline.sources.http.status import from_status
from kinetics_pipeline.sources.http.ytdlp import retry_after
from kinetics_pipeline.sources.options import SourceOptions
from kinetics_pipeline.sources.youtube.refusals import from_extraction, redacted
from kinetics_pipeline.sources.youtube.source import YouTube
from kinetics_pipeline.sources.youtube.youtube_texts import YOUTUBE_CLEAR, YOUTUBE_UNCLEAR
from kinetics_pipeline.sources.youtube.ytdlp_texts import YTDLP

RULES = (*YOUTUBE_CLEAR, *YOUTUBE_UNCLEAR, *YTDLP)
GONE = "Video unavailable. This video has been removed by the uploader"


def test_every_rule_leads_to_an_outcome_of_the_contract_or_a_signal() -> None:
    assert all(rule.outcome in OUTCOMES - {"ok"} or is_signal(rule.outcome) for rule in RULES)


@pytest.mark.parametrize("video_id", ["HTTPError42", "captcha_429", "not-a--bot-", "in_premiere"])
@pytest.mark.parametrize("prefix", ["ERROR: [youtube] {}: ", "[youtube] {}: "])
def test_the_id_in_a_message_is_not_read(video_id: str, prefix: str) -> None:
    failure = from_extraction(Exception(prefix.format(video_id) + GONE), [])
    assert (failure.outcome, failure.detail) == ("gone", "removed by the uploader")


def test_warnings_do_not_overrule_a_reason_that_was_given() -> None:
    assert from_extraction(Exception(GONE), ["HTTP Error 429: Too Many Requests"]).outcome == "gone"


def test_warnings_count_where_the_error_says_nothing() -> None:
    error = Exception("[youtube] okokokokok1: Failed to extract any player response; please report this issue")
    assert from_extraction(error, ["HTTP Error 429: Too Many Requests"]).outcome == "throttled"
    assert from_extraction(error, []).outcome == "network"


def test_an_unknown_text_is_never_final() -> None:
    assert from_extraction(Exception("something new"), []).outcome == "internal"


@pytest.mark.parametrize(
    "secret",
    [
        "https://rr1.googlevideo.com/videoplayback?sig=abc",
        "http://user:word@10.1.2.3:3128",
        "192.168.17.4",
        "2001:db8::8a2e:370:7334",
        "jane.doe@example.org",
        "@janedoe",
        "AIzaSyA1234567890abcdefghijklmnopqrstu",
        "/home/jane/cookies.txt",
        '"Jane Doe"',
    ],
)
def test_an_unknown_text_is_told_without_what_is_private(secret: str) -> None:
    told = redacted(f"the thing {secret} went wrong")
    assert secret not in told
    assert told.startswith("the thing")
    assert told.endswith("went wrong")


@given(st.text(max_size=400))
def test_a_detail_is_one_short_line(text: str) -> None:
    told = redacted(text)
    assert len(told) <= 160
    assert len(told.splitlines()) <= 1


@given(st.integers(300, 599), st.one_of(st.none(), st.floats(0, 1e6)))
def test_no_status_of_a_media_server_says_that_a_video_is_gone(status: int, wait: float | None) -> None:
    assert from_status(status, wait, "youtube").outcome in ("network", "throttled")


def test_retry_after_is_read_in_both_its_forms() -> None:
    assert retry_after("120") == 120.0
    assert retry_after(email.utils.formatdate(time.time() + 90, usegmt=True)) == pytest.approx(90, abs=2)
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert retry_after("soon") is None
    assert retry_after(None) is None


@pytest.mark.parametrize(
    "name",
    [
        "exec_cmd",
        "postprocessors",
        "external_downloader",
        "outtmpl",
        "paths",
        "cookiesfrombrowser",
        "cookiefile",
        "netrc_cmd",
        "ffmpeg_location",
        "js_runtimes",
        "plugin_dirs",
        "enable_file_urls",
        "print_to_file",
        "cachedir",
    ],
)
def test_options_that_run_programs_or_touch_files_are_refused_by_name(name: str) -> None:
    with pytest.raises(UserError, match=name):
        SourceOptions(ytdlp_options={name: "x"})


def test_an_option_of_the_wrong_type_is_one_line() -> None:
    with pytest.raises(UserError, match="retries is of type str; allowed: int"):
        SourceOptions(ytdlp_options={"retries": "many"})
    with pytest.raises(UserError, match="allow-access is 'all'"):
        SourceOptions(allow_access=frozenset({"all"}))


@pytest.mark.parametrize("name", ["Cookie", "cookie", "Authorization", " authorization", "X-Goog-AuthUser"])
def test_an_account_comes_by_cookies_alone(name: str) -> None:
    with pytest.raises(UserError, match="--allow-access") as error:
        SourceOptions(ytdlp_options={"http_headers": {name: "secret"}})
    assert "secret" not in str(error.value)
    with pytest.raises(UserError, match="data_sync_id"):
        SourceOptions(ytdlp_options={"extractor_args": {"youtube": {"data_sync_id": ["x"]}}})
    SourceOptions(ytdlp_options={"http_headers": {"User-Agent": "x"}, "extractor_args": {"youtube": {"lang": ["en"]}}})


@pytest.mark.parametrize(
    "headers",
    [
        {"User-Agent": "x\r\nCookie: secret"},
        {"User-Agent": "x\nAuthorization: secret"},
        {"User-Agent:x\r\nCookie": "secret"},
        {"User-Agent": {"Cookie": "secret"}},
        {"Cookie\0": "secret"},
        {"": "secret"},
    ],
)
def test_a_header_does_not_carry_another(headers: dict) -> None:
    with pytest.raises(UserError, match="RFC 9110") as error:
        SourceOptions(ytdlp_options={"http_headers": headers})
    assert "secret" not in str(error.value)


def test_a_source_travels_whole_and_shows_no_secret() -> None:
    source = YouTube(SourceOptions(cookies="secret1", proxy="http://u:secret2@host", ytdlp_options={"retries": 1}))
    assert pickle.loads(pickle.dumps(source)) == source
    assert "secret" not in repr(source)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("64:ff9b::8.8.8.8", True),
        *((one, False) for one in ("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254")),
        *((one, False) for one in ("0.0.0.0", "224.0.0.1", "100.64.0.1", "::1", "fe80::1%eth0", "fd00::1")),
        *((one, False) for one in ("::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "2002:0a00:0001::")),
        *((one, False) for one in ("::127.0.0.1", "::ffff:0:127.0.0.1", "fec0::1", "64:ff9b:1::7f00:1", "::")),
    ],
)
def test_only_addresses_of_the_open_internet_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public
