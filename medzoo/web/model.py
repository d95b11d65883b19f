"""The page of a model: what it is, its versions, how to cite it, and samples to download."""

from __future__ import annotations

from fastapi import FastAPI
from nicegui import ui

from ..errors import ModelNotFoundError
from ..view import gallery
from .download import Download
from .layout import Message, frame
from .site import Site


def add_pages(app: FastAPI, site: Site) -> None:  # noqa: ARG001
    """Add the page of each model."""

    @ui.page("/models/{name}.html")
    def model_page(name: str) -> None:
        try:
            model = site.model(name)
        except ModelNotFoundError as error:
            with frame(site, "no such model"):
                Message().fail(error)
            return
        with frame(site, model.id):
            ui.html(gallery.about(model), sanitize=False)
            if not site.read_only:
                ui.link("explore it with sliders", f"/explore/{model.number}")
                ui.html("Generate and download", tag="h2")
                Download(site, model)
            ui.html(gallery.details(model), sanitize=False)
