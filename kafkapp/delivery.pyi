class Topic:
    name: str

class Waiter: ...
