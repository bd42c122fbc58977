//! What follows from what: a program that fails one check often fails others for the same reason.

use crate::check::Check;

/// A check, and those that no program can pass that fails it. A row holds for each stage and
/// role that has both. `tests/broken` tries each row with all programs that fail its first check.
pub const ROWS: &[(&str, &[&str])] = &[
    (
        "reverses-a-line",
        &[
            "last-line-without-newline",
            "several-lines-in-one-read",
            "line-in-several-reads",
            "every-split-of-a-message",
            "every-split-of-crlf",
            "every-split-of-utf8",
            "many-lines-in-one-segment",
            "crlf",
            "lone-carriage-return",
            "nul-and-any-byte",
            "utf8-by-character",
            "what-is-not-utf8",
            "lines-as-long-as-a-buffer",
            "long-line-in-pieces",
            "endless-line",
            "all-answers-to-a-late-reader",
            "half-close-while-answers-wait",
            "streaming-client",
            "soak",
            "nc-openbsd",
            "nc-traditional",
            "ncat",
        ],
    ),
    (
        "several-lines-in-one-read",
        &[
            "many-lines-in-one-segment",
            "every-split-of-a-message",
            "every-split-of-crlf",
            "all-answers-to-a-late-reader",
            "half-close-while-answers-wait",
            "streaming-client",
            "soak",
        ],
    ),
    (
        "line-in-several-reads",
        &[
            "every-split-of-a-message",
            "every-split-of-crlf",
            "every-split-of-utf8",
        ],
    ),
    ("crlf", &["every-split-of-crlf"]),
    ("utf8-by-character", &["every-split-of-utf8"]),
    (
        "more-than-one-read",
        &[
            "many-lines-in-one-segment",
            "all-answers-to-a-late-reader",
            "half-close-while-answers-wait",
        ],
    ),
    ("half-close", &["half-close-while-answers-wait"]),
    (
        "all-answers-to-a-late-reader",
        &["half-close-while-answers-wait"],
    ),
    ("last-line-without-newline", &["nc-openbsd", "ncat"]),
    (
        "resets-at-any-moment",
        &["nothing-is-left-of-a-reset", "connects-and-leaves"],
    ),
    (
        "idle-clients-cost-nothing",
        &["waiting-for-a-reader-costs-nothing"],
    ),
    ("sigterm", &["sigterm-under-load"]),
    ("client-half-closes", &["three-megabytes-and-half-close"]),
    (
        "upstream-down",
        &[
            "upstream-down-for-many-at-once",
            "upstream-down-for-thousands",
        ],
    ),
];

/// Whether `check` follows from `base`: both belong to the same stage and the same role.
pub fn follows(check: &Check, base: &Check) -> bool {
    let row =
        |(name, followers): &(&str, &[&str])| *name == base.name && followers.contains(&check.name);
    check.stage == base.stage && check.role == base.role && ROWS.iter().any(row)
}
