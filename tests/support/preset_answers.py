"""What a good model would say of six recordings: answers to every question of every shipped preset, and notes."""

ANSWERS = {
    "meeting": {
        "topics": [
            {"topic": "Budget", "summary": "Travel is cut by a third."},
            {"topic": "Hiring", "summary": "Two posts, both in Berlin | Kyiv."},
        ],
        "decisions": [
            {"decision": "Buy the small press", "decided_by": "Anna", "reason": "It fits the room, and costs half."},
            {"decision": "-20 % for travel", "decided_by": None, "reason": None},
        ],
        "action_items": [{"task": "Send the contract", "owner": "Ben", "deadline": "by Friday"}],
        "open_questions": [],
        "next_meeting": {"date": "next Tuesday at nine", "place": None},
    },
    "lecture": {
        "overview": "The lecture derives Ohm's law.\n\n- First on the board.\n- Then with a lamp.",
        "key_ideas": [{"idea": "Ohm's law", "explanation": "U = R * I holds for metals at constant temperature."}],
        "terms": [{"term": "resistance", "meaning": "voltage per current"}],
        "examples": [{"example": "a lamp", "shows": "that resistance grows with heat"}],
        "homework": [{"task": "Problem 3", "due": None}],
        "exam_questions": [{"question": "What is resistance?", "answer": "Voltage per current."}],
    },
    "interview": {
        "people": [{"person": "Dr. Ito", "role": "guest"}, {"person": "the host", "role": None}],
        "overview": "A talk about tides.",
        "answers": [{"question": "Why tides?", "answer": "Because of the moon."}],
        "quotes": [{"quote": "\"We measured it, twice.\"", "speaker": "Dr. Ito"}],
        "follow_ups": ["Who paid?", "Which boat?"],
    },
    "surveillance": {
        "scene": "A yard at night, in rain.",
        "events": [{"event": "A gate opens", "who_or_what": "a person in a red coat", "heard": "a bell"}],
        "people": [{"description": "red coat, a box", "action": "walks in"}],
        "vehicles": [],
        "attention": {"needed": False, "reason": "A delivery, as on any day."},
    },
    "sports": {
        "match": {"sport": "handball", "sides": ["Kiel", "Rhein-Neckar"], "competition": None, "place": "Kiel"},
        "score": {"score": "28:27", "leader": "Kiel", "final": True},
        "key_moments": [{"moment": "A goal from the halfway line", "who": "number 7", "score_after": "28:27"}],
        "penalties_and_injuries": [{"event": "two minutes", "who": None}],
        "commentary": "The commentator doubts the last goal.",
    },
    "tutorial": {
        "goal": "Install a compiler.",
        "prerequisites": ["Linux", "1 GB of disk"],
        "steps": [{"do": "Update the lists", "exactly": "apt-get update"}, {"do": "Wait", "exactly": None}],
        "pitfalls": [{"problem": "No sudo", "solution": "Ask the owner."}],
        "links": ["https://example.org/gcc_13"],
    },
}  # fmt: skip
NOTES = (
    "A gate opens, a person in a red coat walks in with a box.",
    "They buy the small press; Ben sends the contract.",
    "The rain goes on.",
)
