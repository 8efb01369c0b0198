"""Small bags."""

from room_bags import messages, write_room_bag

__all__ = ["messages", "write_room_bag"]
