"""The settings that this site needs; a site of yours has more."""

import os
from pathlib import Path

FOLDER = Path(os.environ.get("SITE_DATA", "."))

SECRET_KEY = os.environ.get("SECRET_KEY", "only for this machine")
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
INSTALLED_APPS = ["shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / "site.db"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# A storage of its own, beside the site's database.
PERDURE_STORAGE = os.environ.get("STORAGE", f"sqlite:///{FOLDER / 'orders.db'}")
