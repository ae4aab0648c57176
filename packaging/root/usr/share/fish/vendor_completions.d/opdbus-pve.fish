# fish completion for opdbus-pve, which is op-dbus under its other name.
complete --command opdbus-pve --wraps op-dbus
