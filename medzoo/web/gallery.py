"""The first page: the gallery of `medzoo.view.gallery`, served instead of written to a disk."""

from __future__ import annotations

from fastapi import FastAPI, HTTPException
from fastapi.responses import HTMLResponse, Response

from ..registry import card
from ..view import gallery
from .layout import LINKS
from .site import Site


def add_pages(app: FastAPI, site: Site) -> None:
    """Serve the cards of all models, with their pictures, the style and the script."""
    page = gallery.index_page(list(site.models.values()), LINKS)

    @app.get("/")
    @app.get("/index.html")
    def index() -> HTMLResponse:
        return HTMLResponse(page)

    @app.get("/gallery.css")
    def style() -> Response:
        return Response(gallery.STYLE, media_type="text/css")

    @app.get("/gallery.js")
    def script() -> Response:
        return Response(gallery.SCRIPT, media_type="text/javascript")

    @app.get("/models/{name}.jpg")
    def picture(name: str) -> Response:
        content = card.thumbnail(site.models[name]) if name in site.models else b""
        if not content:
            raise HTTPException(404)
        return Response(content, media_type="image/jpeg")
