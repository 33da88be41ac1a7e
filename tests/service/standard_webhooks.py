"""Verifies deliveries as a receiver does that uses the Standard Webhooks library for Python.

Reads one JSON object a line, {"secret", "headers", "body"}, and prints for each whether the library accepts it.
"""

import json
import sys

from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

for line in sys.stdin:
    delivery = json.loads(line)
    try:
        Webhook(delivery["secret"]).verify(delivery["body"], delivery["headers"], json_parse=False)
        print("accepted")
    except WebhookVerificationError as error:
        print(f"refused: {error}")
