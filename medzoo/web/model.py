"""The page of a model: what it is, its versions, how to cite it, and samples to download."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import FastAPI
from nicegui import ui

from ..config import ModelConfig
from ..errors import ModelNotFoundError
from ..view import gallery
from .controls import choice
from .download import Download
from .layout import Message, frame
from .site import Site


def add_pages(app: FastAPI, site: Site) -> None:  # noqa: ARG001
    """Add the page of each model."""

    @ui.page("/models/{name}.html")
    def model_page(name: str, version: str | None = None) -> None:
        try:
            model = site.model(name)
            chosen = model.version(version)
        except ModelNotFoundError as error:
            with frame(site, "no such model"):
                Message().fail(error)
            return
        with frame(site, model.id):
            ui.html(gallery.about(model), sanitize=False)
            if not site.read_only:
                ui.html("Generate and download", tag="h2")
                if len(model.versions) > 1:
                    _choose_version(model, chosen.name)
                address = f"/explore/{model.number}?version={quote(chosen.name)}"
                ui.link("explore it with sliders", address)
                Download(site, model, chosen)
            ui.html(gallery.details(model), sanitize=False)


def _choose_version(model: ModelConfig, chosen: str) -> None:
    """A list of versions; the page of the one that is chosen opens."""

    def show(version: str) -> None:
        ui.navigate.to(f"/models/{model.id}.html?version={quote(version)}")

    with ui.element("div").classes("mz-form"):
        choice("version", list(model.versions), chosen, show)
