"""How long answers take, which says for how long the next one is waited for."""

from services.controller.answers import LONGEST, AnswerTimes


def test_the_last_answer_says_what_answers_take_for_a_while() -> None:
    answers = AnswerTimes(30.0)
    assert answers.take(0.0) == 0
    answers.note(100.0, 150.0)
    answers.note(145.0, 155.0)
    assert [answers.take(155.0), answers.take(185.0), answers.take(186.0)] == [10.0, 10.0, 0.0]


def test_no_answer_is_waited_for_without_end() -> None:
    answers = AnswerTimes(30.0)
    answers.note(0.0, 10 * LONGEST)
    assert answers.take(10 * LONGEST) == LONGEST
    answers.note(10 * LONGEST + 1, 10 * LONGEST)  # the clock of who asked is ahead
    assert answers.take(10 * LONGEST) == 0
