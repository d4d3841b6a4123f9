"""The tenant: responses, keys and everything else belong to a project."""

from django.db import models


class Project(models.Model):
    """Owner of keys and responses. The first one serves requests that need no key."""

    DEFAULT_SLUG = "default"

    slug = models.SlugField(max_length=64, unique=True)
    name = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name
