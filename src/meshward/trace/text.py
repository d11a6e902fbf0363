"""A story for a terminal; without one rich leaves the styles out and the lines stay as they are."""

from __future__ import annotations

from rich.text import Text

from meshward.trace.story import Story

_STYLES = (
    (r"(?m)^\S.*$", "bold"),
    (r"(?m)^(permitted by both|answered).*$", "green"),
    (r"(?m)^(refused|permitted, but).*$", "yellow"),
    (r"(?m)^(edge and|seen by|forwarded).*$", "bold red"),
    (r"(?m)^  DISAGREE.*$", "red"),
    (r"(?m)^  what to do:.*$", "italic"),
    (r"(?m)^    .{14} ", "dim"),
)


def style_story(story: Story) -> Text:
    """`story` for `Console.print(…, soft_wrap=True)`. What callers wrote is text here, never markup."""
    text = Text("\n".join(story.lines()))
    for pattern, style in _STYLES:
        text.highlight_regex(pattern, style)
    return text
