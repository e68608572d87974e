"""One file per noun; each says in `add_to` which paths it answers under a prefix."""
