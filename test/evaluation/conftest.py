"""Small bags."""

from room_bags import messages, room_bag, storage, write_room_bag

__all__ = ["messages", "room_bag", "storage", "write_room_bag"]
