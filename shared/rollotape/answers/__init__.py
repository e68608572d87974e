"""What the gateway answers, as types: its OpenAPI document says them, `rollotape.client` reads them.

Fields have the names that they have in the API. Times have their zone; percentages are 0 to 100; what is
unknown is None.
"""

from rollotape.answers.figures import *  # noqa: F403 - every shape by one name, wherever it is written
from rollotape.answers.kept import *  # noqa: F403 - likewise
from rollotape.answers.patterns import *  # noqa: F403 - likewise
from rollotape.answers.reports import *  # noqa: F403 - likewise
from rollotape.answers.shape import *  # noqa: F403 - likewise
from rollotape.answers.tape import *  # noqa: F403 - likewise
