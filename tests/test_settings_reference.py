"""The reference of the settings says what the declarations say."""

from __future__ import annotations

from apps.api.management.reference import page_path, render, section
from apps.conf import Setting, SettingsGroup


def test_the_page_in_the_docs_is_up_to_date() -> None:
    written = page_path().read_text(encoding="utf-8")
    assert written == render(), "run `manage.py settings_reference`"


def test_a_setting_has_name_type_default_and_meaning() -> None:
    class Example(SettingsGroup):
        """An example. It says more."""

        WORD = Setting("", "A word or | none.", secret=True)
        SWITCH = Setting(True, "On or off.")
        MANY = Setting(["a", "b"], "A few.")
        LIMIT = Setting(1.5, "A limit.", minimum=0.5)
        CHOICE = Setting("x", "One of two.", choices=("x", "y"))

    assert section(Example) == (
        "## An example\n"
        "\n"
        "It says more.\n"
        "\n"
        "| name | type | default | meaning |\n"
        "| --- | --- | --- | --- |\n"
        "| `GATEWAY_WORD`, `GATEWAY_WORD_FILE` | text, secret |  | A word or \\| none. |\n"
        "| `GATEWAY_SWITCH` | switch | `true` | On or off. |\n"
        "| `GATEWAY_MANY` | list | `a,b` | A few. |\n"
        "| `GATEWAY_LIMIT` | number, at least 0.5 | `1.5` | A limit. |\n"
        "| `GATEWAY_CHOICE` | `x`, `y` | `x` | One of two. |\n"
    )
