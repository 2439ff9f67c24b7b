from typing import final

@final
class Subscription: ...
