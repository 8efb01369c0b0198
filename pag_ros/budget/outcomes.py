"""How a frame ends, in the node's books and in those of who listens to it."""

from __future__ import annotations

PROCESSED = "processed"
SUPERSEDED = "superseded"
SKIPPED = "skipped"
ABANDONED = "abandoned"
BAD = "bad"
IDLE = "idle"

MISSED = (SUPERSEDED, SKIPPED, ABANDONED)
"""Frames without outputs for want of time."""

DROPPED = (*MISSED, BAD, IDLE)
"""All frames without outputs."""

NODE_OUTCOMES = (PROCESSED, *DROPPED)
"""Each frame that the node has received ends as one of these, or is still waiting or in work."""

LOST = "lost"
UNDELIVERED = "undelivered"
UNACCOUNTED = "unaccounted for"

MEANINGS = {
    PROCESSED: "all outputs came",
    UNDELIVERED: "processed, but not all outputs arrived: overwritten on the way",
    SUPERSEDED: "a newer frame took its place before it was begun",
    SKIPPED: "could not have been ready in time",
    ABANDONED: "was half a period late, so a newer one was worth more",
    BAD: "unreadable message",
    IDLE: "nobody listened, or the node was not active",
    LOST: "never reached the node: best-effort transport",
    UNACCOUNTED: "neither answered nor counted by the node; must be 0",
}
"""Every outcome of a frame that was sent to a node, for people."""
