"""HTML files that need nothing beside them, made from the templates of the package."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import TYPE_CHECKING

from pag_ros.errors import BackendError

if TYPE_CHECKING:
    from markupsafe import Markup


def fill(
    template: str, filters: dict[str, Callable[..., object]] | None = None, **values: object
) -> str:
    """A template's text with its values. Text from outside (topic names, say) is escaped.

    Args:
        template: its file, from the package's folder on.
        filters: that it uses, by name.
        values: that it names; each must be given.

    Raises:
        BackendError: Jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise BackendError(f"the report needs {error.name}: pip install 'pag_ros[eval]'") from error
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters or {})
    return environment.get_template(template).render(**values)


def trusted(svg: str) -> Markup:
    """Markup of our own, not to be escaped."""
    import markupsafe

    return markupsafe.Markup(svg)


def _source(name: str) -> str:
    return resources.files("pag_ros").joinpath(name).read_text(encoding="utf-8")
