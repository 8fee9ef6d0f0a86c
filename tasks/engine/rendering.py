"""Renders configuration files, the user's own templates before ours."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from traceback import walk_tb

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    Environment,
    FileSystemBytecodeCache,
    FileSystemLoader,
    PrefixLoader,
    StrictUndefined,
    TemplateNotFound,
    TemplateSyntaxError,
    UndefinedError,
)
from jinja2.utils import missing

from . import usercache
from .errors import Error
from .escape import FILTERS
from .remote import kinds

PACKAGED = Path(__file__).parents[2] / "templates"
PREFIX = "fabrelease"  # "fabrelease/<name>" in a template is always the packaged one


class TemplateProblem(Error):
    """A template is missing, malformed, or asks for what is not there.

    :param path: the template's file, or its name where no file was found.
    :param line: the line in it, counted from 1; None where there is none.
    :param reason: what is wrong.
    """

    def __init__(self, path: str, line: int | None, reason: str) -> None:
        self.path = path
        self.line = line
        self.reason = reason
        place = path if line is None else f"{path}, line {line}"
        super().__init__(kinds.TEMPLATE, f"{place}: {reason}")


class _Undefined(StrictUndefined):
    """Says which attributes an object has when one it has not is asked for."""

    @property
    def _undefined_message(self) -> str:
        name, owner = self._undefined_name, self._undefined_obj
        if self._undefined_hint or owner is missing:
            return super()._undefined_message
        known = ", ".join(_names(owner)) or "nothing"
        return f"{type(owner).__name__} has no {name!r}; it has: {known}"


class Renderer:
    """Renders templates for one host.

    A name such as ``nginx/site.conf.j2`` is looked for in ``<project_templates>/<host_name>``, then in
    ``<project_templates>``, then among the packaged templates. A template of the user's can extend the
    packaged one of the same name: ``{% extends "fabrelease/nginx/site.conf.j2" %}``.

    :param project_templates: the project's folder of templates. None, or one that is not there: it has none.
    :param host_name: the host's name in the stage file.
    :param outside: folders of templates that drivers from other packages bring.
    """

    def __init__(self, project_templates: Path | None, host_name: str, outside: Sequence[Path] = ()) -> None:
        own = [project_templates / host_name, project_templates] if project_templates else []
        packaged = [PACKAGED, *outside]
        self._folders = [*own, *packaged]
        loaders: list[BaseLoader] = [PrefixLoader({PREFIX: FileSystemLoader(packaged)})]
        loaders.append(FileSystemLoader(self._folders))
        self._environment = Environment(
            loader=ChoiceLoader(loaders),
            undefined=_Undefined,
            autoescape=False,  # noqa: S701  none of these files is HTML; each value has its language's filter
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
            bytecode_cache=_compiled(),
        )
        self._environment.filters.update(FILTERS)

    def render(self, name: str, **variables: object) -> str:
        """Return the text of template *name* filled in with *variables*.

        :param name: path below the templates folder, with ``/`` on every system.
        :raises TemplateProblem: for whatever is wrong with the template or with a value given to it.
        """
        try:
            return self._environment.get_template(name).render(variables)
        except TemplateSyntaxError as error:
            path = error.filename or error.name or name
            raise TemplateProblem(path, error.lineno, error.message or "syntax error") from error
        except TemplateNotFound as error:
            path, line = _place(error, name)
            raise TemplateProblem(path, line, self._not_found(error)) from error
        except UndefinedError as error:
            path, line = _place(error, name)
            known = ", ".join(sorted(variables)) or "none"
            raise TemplateProblem(path, line, f"{error.message} (variables here: {known})") from error
        except Exception as error:  # a template is a program: it can fail in any way
            path, line = _place(error, name)
            reason = str(error) if isinstance(error, Error) else f"{type(error).__name__}: {error}"
            raise TemplateProblem(path, line, reason) from error

    def _not_found(self, error: TemplateNotFound) -> str:
        folders = ", ".join(str(folder) for folder in self._folders)
        return f"there is no template {error.name!r} in {folders}"


def _compiled() -> FileSystemBytecodeCache | None:
    """Where compiled templates are kept: compiling them takes longer than everything else that is done here."""
    # No home, or one that nobody can write to, or a system without users.
    with contextlib.suppress(OSError, RuntimeError, AttributeError):
        folder = usercache.folder("templates")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(folder, os.W_OK) and folder.stat().st_uid == os.geteuid():  # what is there is executed
            return FileSystemBytecodeCache(str(folder))
    return None


def _place(error: Exception, name: str) -> tuple[str, int | None]:
    """Where in a template *error* was raised: Jinja puts the template's file and line into the traceback."""
    place: tuple[str, int | None] = (name, None)
    for frame, line in walk_tb(error.__traceback__):
        if "__jinja_exception__" in frame.f_globals:
            place = (frame.f_code.co_filename, line)
    return place


def _names(owner: object) -> list[str]:
    names = owner if isinstance(owner, dict) else getattr(owner, "__dict__", ())
    return sorted(str(name) for name in names if not str(name).startswith("_"))
