"""The tables of the shop."""

from django.db import models


class Order(models.Model):
    number = models.CharField(max_length=64, primary_key=True)
    item = models.CharField(max_length=200)
    state = models.CharField(max_length=20, default="new")
