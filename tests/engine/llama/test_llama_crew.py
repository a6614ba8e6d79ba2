from llmspell_jupyter.engine.backends._llama.crew import Crew


def steps(crew, count, seconds_of):
    """Run so many steps; the threads of each."""
    taken = []
    for _ in range(count):
        taken.append(crew.threads)
        crew.note(4, seconds_of(crew.threads))
    return taken


def test_a_quiet_machine_gives_all_cores():
    taken = steps(Crew(1, 2), 1000, lambda threads: 0.1 / threads)
    assert taken[0] == 2
    # The other number is tried less and less often.
    assert 0 < taken.count(1) < 50
    assert taken[4:7] == [1, 1, 1] and taken[7] == 2


def test_a_busy_one_leaves_a_core_free():
    taken = steps(Crew(1, 2), 1000, lambda threads: 0.1 * threads)
    assert taken.count(2) < 60


def test_it_changes_with_the_machine():
    crew = Crew(1, 2)
    steps(crew, 400, lambda threads: 0.1 / threads)
    busy = steps(crew, 400, lambda threads: 0.1 * threads)
    assert busy[-200:].count(1) > 150
    quiet = steps(crew, 400, lambda threads: 0.1 / threads)
    assert quiet[-200:].count(2) > 150


def test_a_machine_that_gets_busy_is_noticed_within_a_few_steps():
    crew = Crew(1, 2)
    steps(crew, 390, lambda threads: 0.1 / threads)
    assert steps(crew, 7, lambda threads: 0.1 * threads)[-1] == 1
