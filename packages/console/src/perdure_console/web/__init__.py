"""The web page: an ASGI application that shows a storage and acts on it, to serve alone or to mount.

    app.mount("/perdure", perdure_console.web.application(provider, token=…))

- `site`: the application with its routes
- `settings`: what it may show and do, and for whom
- `guard`: who is let in, which requests may change something, and the headers of every answer
- `signing`: texts that only this application can have made
- `pages`: rendering, and what all pages have
- `instances`, `instance`, `health`: the pages
- `forms`, `acting`: what forms have, and what the buttons do
- `live`: server-sent events, one for each change of what a page shows
- `timeline`: a history as bars over time
- `happenings`: events and payloads as people read them
- `source`: the code with the lines where it stands
"""

from perdure_console.web.settings import Settings
from perdure_console.web.site import application

__all__ = ["Settings", "application"]
