"""YouTube's words for a video that is gone for good: whole sentences, and the only texts that are final."""

from __future__ import annotations

from kinetics_pipeline.sources.youtube.texts import Rule, sentence_rule

VIDEO = r"(?:(?:sorry|unfortunately),? )?(?:(?:this|the) )?(?:video|clip|short|movie|film|episode|live ?stream)"
ANYTHING = rf"(?:{VIDEO}|(?:this|the) content)"
UPLOADER = r"(?:uploader|user|owner|author|creator|publisher)"
ACCOUNT = r"(?:youtube )?(?:account|channel)"
REMOVED = r"(?:has been|was|is) (?:removed|deleted|taken down)(?: from youtube)?"
AWAY = (
    rf"(?:is (?:no longer available|not available(?: any ?more)?|unavailable)|isn't available(?: any ?more)?|{REMOVED})"
)
SINCE = r"(?:because|since|as)"
WHY = rf"(?:due to|{SINCE}|for|after|following)"
RIGHT = r"(?:copyright|trademark|privacy|defamation|counterfeit|circumvention|third[- ]party)"
CLAIM = r"(?:claims?|complaints?|notifications?|notices?|infringements?|violations?|takedowns?|strikes?|reports?)"
RULES = r"violat\w+ (?:of )?(?:\S+ ){0,7}?(?:polic(?:y|ies)|guidelines|terms|rules)(?: .*)?"

GONE: tuple[Rule, ...] = (
    sentence_rule(
        "gone",
        "the account was terminated",
        "yt-dlp's tests, TheFatRat 633",
        rf"{VIDEO} {AWAY} {SINCE} (?:the|its) (?:{UPLOADER}'s )?{ACCOUNT}(?: associated with (?:this|the) video)? "
        rf"(?:has been|was|is) (?:terminated|closed|deleted)(?: {WHY} .*)?",
        rf"(?:the|this) {ACCOUNT} associated with this video (?:has been|was|is) (?:terminated|closed|deleted)"
        rf"(?: {WHY} .*)?",
        rf"(?:the|this) {ACCOUNT} (?:has been|was|is) (?:terminated|removed) {WHY} .*(?:violat\w+|{RIGHT}).*",
    ),
    sentence_rule(
        "gone",
        "the account was closed",
        "yt-dlp's tests",
        rf"(?:{VIDEO} {AWAY} {SINCE} )?the {UPLOADER} (?:has )?(?:closed|deleted) (?:their|his|her|the) {ACCOUNT}",
    ),
    sentence_rule(
        "gone",
        "removed by YouTube's rules",
        "youtube-dl-gui 554, netflix-migrate 59, hammer 22",
        rf"{ANYTHING} {AWAY} (?:for|as a|due to an?|{SINCE} (?:it|its content)) {RULES}",
        rf"{ANYTHING} {AWAY} (?:for|due to|under|per) (?:an? |our |youtube's )?"
        r"(?:community guidelines|terms of (?:use|service))(?: violations?)?",
        rf"{ANYTHING} {AWAY} due to its inappropriate nature",
    ),
    sentence_rule(
        "gone",
        "removed on a claim",
        "tubesync 478, youtube-dl 27955",
        rf"{ANYTHING} {AWAY} (?:due to|because of|following|after|on|for|as a result of|in response to) "
        rf"(?=.*(?:{RIGHT}))(?:\S+ ){{0,6}}?{CLAIM}(?: .*)?",
    ),
    sentence_rule(
        "gone",
        "removed by the uploader",
        "video-downloader 362",
        rf"{VIDEO} {REMOVED}(?: by (?:the|its) {UPLOADER})?",
        rf"(?:this|the) content {REMOVED} by (?:the|its) {UPLOADER}",
        rf"(?:{VIDEO} {AWAY} {SINCE} )?the {UPLOADER} (?:has )?(?:removed|deleted) (?:it|(?:this|the) video)",
        rf"video (?:removed|deleted) by (?:the )?{UPLOADER}",
        rf"{VIDEO} {REMOVED} {SINCE} it (?:is|was) too long",
    ),
    sentence_rule(
        "gone",
        "does not exist",
        "yt-dlp's tests",
        rf"{VIDEO} (?:does not|doesn't|no longer) exists?(?: any ?more)?",
    ),
    sentence_rule(
        "gone",
        "not available any more",
        "yt-dlp 10085",
        rf"{VIDEO} (?:isn't|is not) available any ?more",
        rf"{VIDEO} is no longer available",
    ),
)
"""A sentence that is not here is not final; what stands for a name in it was taken out before."""
