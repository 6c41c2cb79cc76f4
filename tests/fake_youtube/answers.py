"""What YouTube's player API answers when a video does not play (status, reason, subreason), as seen in the wild."""

from __future__ import annotations

from typing import Any


def refusal(status: str, reason: str, subreason: str = "", **more: Any) -> dict[str, Any]:
    screen: dict[str, Any] = {"reason": {"simpleText": reason}}
    if subreason:
        screen["subreason"] = {"simpleText": subreason}
    return {"status": status, "reason": reason, "errorScreen": {"playerErrorMessageRenderer": screen}, **more}


_GONE = "This video is no longer available"

PLAYABILITY: dict[str, dict[str, Any]] = {
    "private": refusal("LOGIN_REQUIRED", "Private video", "Sign in if you've been granted access to this video"),
    "removed": refusal("ERROR", "Video unavailable", "This video has been removed by the uploader"),
    "unavailable": refusal("ERROR", "Video unavailable"),
    "not_any_more": refusal("ERROR", "Video unavailable", "This video isn't available anymore"),
    "terminated": refusal(
        "ERROR",
        "Video unavailable",
        f"{_GONE} because the YouTube account associated with this video has been terminated.",
    ),
    "closed": refusal("ERROR", "Video unavailable", f"{_GONE} because the uploader has closed their YouTube account."),
    "copyright": refusal("ERROR", "Video unavailable", f"{_GONE} due to a copyright claim by Jane Someone"),
    "guidelines": refusal("ERROR", "This video has been removed for violating YouTube's Community Guidelines"),
    "age": refusal(
        "LOGIN_REQUIRED",
        "Sign in to confirm your age",
        "This video may be inappropriate for some users.",
        desktopLegacyAgeGateReason=1,
    ),
    "geo": refusal("UNPLAYABLE", "Video unavailable", "The uploader has not made this video available in your country"),
    "geo_copyright": refusal(
        "UNPLAYABLE",
        "Video unavailable",
        "This video contains content from SME, who has blocked it in your country on copyright grounds",
    ),
    "members": refusal(
        "UNPLAYABLE",
        "Join this channel to get access to members-only content like this video, and other exclusive perks.",
    ),
    "payment": refusal("UNPLAYABLE", "This video requires payment to watch."),
    "bot": refusal(
        "LOGIN_REQUIRED",
        "Sign in to confirm you\u2019re not a bot",
        "This helps protect our community. Learn more",
    ),
    "session_limit": refusal("UNPLAYABLE", "Video unavailable", "This content isn't available, try again later."),
    "soft_block": refusal("ERROR", "Video unavailable", "This content isn\u2019t available."),
    "network_rules": refusal(
        "ERROR",
        "Video unavailable",
        "This video is restricted. Please check the Google Workspace administrator and/or the network administrator "
        "restrictions.",
    ),
    "captcha": {
        "status": "UNPLAYABLE",
        "reason": "Video unavailable",
        "errorScreen": {"playerCaptchaViewModel": {"fake": True}},
    },
    "premiere": {"status": "LIVE_STREAM_OFFLINE", "reason": "Premieres in 3 hours"},
    "live_to_come": {"status": "LIVE_STREAM_OFFLINE", "reason": "This live event will begin in 2 hours."},
    "live_ended": {"status": "UNPLAYABLE", "reason": "This live stream recording is not available."},
    "processing": refusal("UNPLAYABLE", "We're processing this video. Check back later."),
    "unheard_of": refusal(
        "ERROR", "The moon of jane@example.org is in the wrong house, see https://example.org/?sig=1"
    ),
}
