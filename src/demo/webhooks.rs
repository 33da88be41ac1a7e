//! Webhooks that the demonstration sends: common shapes with invented contents.

/// A push to a repository, a paid invoice, a new order.
pub(super) const FOR_THE_WORKING_RECEIVER: [&str; 3] = [
    r#"{
  "ref": "refs/heads/main",
  "before": "9c1f0a4be2d37c58f6a1b0c4d9e8f7a6b5c4d3e2",
  "after": "1b7d2f90c3e84a65b8f0d1e2c3a4b5968778695a",
  "repository": { "id": 70411, "full_name": "lighthouse/harbour", "private": false, "default_branch": "main" },
  "pusher": { "name": "mira", "email": "mira@lighthouse.example" },
  "commits": [
    {
      "id": "1b7d2f90c3e84a65b8f0d1e2c3a4b5968778695a",
      "message": "Keep the lamp lit while the keeper sleeps",
      "timestamp": "2026-03-14T21:07:45+01:00",
      "author": { "name": "Mira", "email": "mira@lighthouse.example" },
      "added": ["lamp/night.rs"],
      "removed": [],
      "modified": ["README.md"]
    }
  ]
}"#,
    r#"{
  "id": "evt_7Qm2xLr0vB",
  "object": "event",
  "type": "invoice.paid",
  "created": 1773522465,
  "livemode": false,
  "data": {
    "object": {
      "id": "in_4Tz9kWc1",
      "object": "invoice",
      "customer": "cus_Harbour12",
      "currency": "eur",
      "amount_due": 4990,
      "amount_paid": 4990,
      "status": "paid",
      "lines": [{ "description": "Lamp oil, monthly", "quantity": 2, "amount": 4990 }]
    }
  }
}"#,
    r##"{
  "id": 820114,
  "name": "#1042",
  "created_at": "2026-03-14T21:09:02+01:00",
  "currency": "EUR",
  "total_price": "74.80",
  "financial_status": "paid",
  "customer": { "id": 5501, "first_name": "Jón", "email": "jon@island.example" },
  "line_items": [
    { "sku": "ROPE-20M", "title": "Rope, 20 m", "quantity": 1, "price": "34.90" },
    { "sku": "MUG-BLUE", "title": "Enamel mug \"Harbour\"", "quantity": 2, "price": "19.95" }
  ],
  "note": "Leave it with the keeper, please"
}"##,
];

/// Its delivery fails, so that retries can be watched.
pub(super) const FOR_THE_FAILING_RECEIVER: &str =
    r#"{ "type": "parcel.lost", "parcel": "HB-2209", "last_seen": "2026-03-14T06:30:00+01:00" }"#;
