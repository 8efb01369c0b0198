"""Which class a furniture model has and how it stands in a room, by category and name.

The first rule whose two patterns are found decides. A rule without a class leaves models out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """category and name are regular expressions, matched in lower case anywhere.

    place: wall (on the floor, back to a wall), free (on the floor), small (rests on something),
    hung (on a wall at the catalogue's elevation), ceiling, flat (rugs), opening (doors, windows).
    """

    category: str
    name: str
    label: str | None
    place: str = "free"


RULES = (
    # what no room contains
    Rule("staircase", "", None),
    Rule("vehicle", "bicycle|bike|tricycle|stroller|skateboard", "object"),
    Rule("vehicle", "", None),
    Rule("misc", "container|fence|railing|chimney|furnace|mower|barrel|curtain|^screen$", None),
    Rule("lights", "street|park light|lamppost|outdoor|porch", None),
    Rule("", "elevator|garage|jacuzzi|swimming|mezzanine|contemporary living|socket|plug", None),
    Rule("misc", "wall switch|(dimmer|double|rounded|square) .*switch|bill |emergency", None),
    # openings
    Rule("doors", "blind|shutter", "window", "hung"),
    Rule("doors", "window", "window", "opening"),
    Rule("doors", "door", "door", "opening"),
    Rule("misc", "blind", "window", "hung"),
    # persons and animals
    Rule("characters", "lying", "person", "small"),
    Rule("characters", "sitting", "person", "seated"),
    Rule("characters", "male|boy|girl", "person"),
    Rule("characters", "cat|dog|rabbit|chicken", "object"),
    Rule("characters", "", None),
    # what bears a furniture word but is something else
    Rule("", "lamp|light|candle|lantern|chandelier|flashlight", "object", "lamp"),
    Rule("", "tennis bat|table fan|tv remote|knife stand|stand alone", "object", "small"),
    Rule("", "with screen|video projector|shower door|shower stall", "fixture", "hung"),
    # furniture
    Rule("", "tv stand|television cabinet|bedside table|changing table", "cabinet", "wall"),
    Rule("", "table on trestles|tablecloth|workbench", "table"),
    Rule("office", "armchair|seat|^chair", "chair"),
    Rule("exterior", "deck chair|pool lounge|beach chair|relax", "chair"),
    Rule("exterior", "rattan (armchair|sofa)", "sofa"),
    Rule("exterior", "chair|bench|bank", "chair"),
    Rule("exterior", "table", "table"),
    Rule("exterior", "flower|plant|trash|mailbox|umbrella|dog house|air condition", "object"),
    Rule("exterior", "", None),
    Rule("", "(upper|glass door) .*(cabinet|shelves)|glass door cabinet", "cabinet", "hung"),
    Rule("kitchen", "sink|hob|cooktop|induction|^stove", "fixture", "wall"),
    Rule("kitchen", r"oven|fridge|refrigerator|freezer|washing|dryer|cooker$|large stove",
         "fixture", "wall"),
    Rule("kitchen", "hood", "fixture", "hung"),
    Rule("kitchen", "cabinet|island", "cabinet", "wall"),
    Rule("bathroom", "towel|rack|dispenser|shower head|curtain", "object", "hung"),
    Rule("bathroom", "toilets|bidet|basin|lavatory|bath(tub)?$|vanity|urinal", "fixture", "wall"),
    Rule("bathroom", "basket|bathmat", "object"),
    Rule("", "radiator", "fixture", "wall"),
    Rule("", "water heater|air condition", "fixture", "hung"),
    Rule("", "fireplace|water cooler", "fixture", "wall"),
    Rule("bedroom", r"\bbed\b|crib|futon$|mattress", "bed", "wall"),
    Rule("", "convertible sofa", "sofa", "wall"),
    Rule("", "sofa|couch|puff", "sofa", "wall"),
    Rule("living", "armchair", "sofa"),
    Rule("", "keyboard$", "object"),
    Rule("", "wardrobe|cupboard|dresser|bookcase|shelves|filing|trunck|drawers|^chest$|locker|safe",
         "cabinet", "wall"),
    Rule("living room|office", "^box$", "cabinet", "wall"),
    Rule("", "piano bench|^stool|bar stool|bar chair|seat|wheelchair", "chair"),
    Rule("", "chair|bench$", "chair"),
    Rule("", r"dressing table|(pool|football|technical|coffee|glass) table|table tennis", "table"),
    Rule("", r"\b(table|desk)\b", "table"),
    Rule("", r"wall flat tv", "screen", "hung"),
    Rule("", r"^tv|laptop|imac|ibook", "screen", "small"),
    # everything else
    Rule("", "carpet|rug$|tatami|doormat|bathmat", "object", "flat"),
    Rule("", "wall |clock|hanger|intercom|cctv|smoke|surveillance|dart|number lock|towel",
         "object", "hung"),
    Rule("", "ceiling", "object", "ceiling"),
    Rule("", "piano$|clothes rack|rocking|doll house|indoor bike|treadmill|fitness|flipper|ladder",
         "object", "wall"),
)  # fmt: skip

SMALL_METRES = 0.62


def classify(category: str, name: str, size: tuple[float, float, float]) -> tuple[str | None, str]:
    """Class name (None: leave the model out) and place of a catalogue model.

    Without a rule it is an object: small if it fits on a table, else free on the floor.
    """
    category, name = category.lower(), name.lower()
    for rule in RULES:
        if re.search(rule.category, category) and re.search(rule.name, name):
            return rule.label, rule.place
    return "object", "small" if max(size) < SMALL_METRES else "free"
