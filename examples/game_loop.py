"""A game that owns its loop, and a trainer that it asks for decisions.

Run it without arguments: the game starts in a process of its own, a heuristic plays
it until the trainer in this process is there, and again after the trainer has left.

The two halves can also be started by hand, in any order and in two terminals::

    python examples/game_loop.py play
    python examples/game_loop.py train
"""

import argparse
import random
import subprocess
import sys

import numpy as np
from gymnasium.spaces import Discrete, MultiDiscrete

import rlay

NAME = "catch"
WIDTH, HEIGHT = 7, 8
FRAME_S = 1 / 60


class Catch:
    """The game as it was before RLay: a ball falls, a paddle should be under it."""

    def __init__(self):
        self.dice = random.Random()
        self.restart()

    def restart(self, seed=None):
        """Start the next ball; the same seed gives the same ball."""
        if seed is not None:
            self.dice.seed(seed)
        self.ball, self.fallen = self.dice.randrange(WIDTH), 0
        self.paddle = WIDTH // 2

    def tick(self, move):
        """Move the paddle by -1, 0 or 1, let the ball fall by one row."""
        self.paddle = min(max(self.paddle + move, 0), WIDTH - 1)
        self.fallen += 1

    @property
    def over(self):
        """Whether the ball is down."""
        return self.fallen == HEIGHT - 1

    @property
    def caught(self):
        """Whether the paddle is under the ball."""
        return self.ball == self.paddle


# ------------------------------------------------------------------ the game's process


def play(sessions=None):
    """Run the game's loop, one turn per frame, until so many trainers have left."""
    game = Catch()
    served = 0
    print("game: nobody is there, the heuristic plays", flush=True)
    # connect_timeout=0 looks once for a trainer and goes on without one.
    with rlay.ClientBackend(
        name=NAME,
        observation_space=MultiDiscrete([WIDTH, HEIGHT, WIDTH]),
        action_space=Discrete(3),
        connect_timeout=0,
    ) as trainer:
        while sessions is None or served < sessions:
            # Here a real game draws and reads the keyboard. poll() returns at once
            # when there is a decision, else after a frame.
            match trainer.poll(FRAME_S):
                case rlay.Reset(seed=seed):
                    game.restart(seed)
                    trainer.report(observe(game))
                case rlay.Action(action=action):
                    game.tick(int(action) - 1)
                    trainer.report(observe(game), reward(game), game.over)
                case rlay.Close(reason=reason):
                    served += 1
                    print(f"game: the trainer left ({reason})", flush=True)
                case None if not trainer.connected:
                    play_by_itself(game)


def observe(game):
    """Return the observation: where the ball is, and the paddle."""
    return np.array([game.ball, game.fallen, game.paddle])


def reward(game):
    """Return 1 for a ball that was caught, -1 for one that was not."""
    if not game.over:
        return 0.0
    return 1.0 if game.caught else -1.0


def play_by_itself(game):
    """Do what the game did before there was a trainer."""
    if game.over:
        game.restart()
    game.tick((game.ball > game.paddle) - (game.ball < game.paddle))


# --------------------------------------------------------------- the trainer's process


def train(steps):
    """Learn by Q-learning for so many steps; return the last balls' mean return."""
    env = rlay.ServerEnv(NAME)  # returns at once; reset() waits for the game
    observation, _ = env.reset(seed=0)
    print(f"trainer: the game is here: {env.observation_space}, {env.action_space}")
    values = np.zeros((WIDTH, HEIGHT, WIDTH, env.action_space.n))
    chance = random.Random(0)
    returns = []
    for _ in range(steps):
        here = tuple(observation)
        if chance.random() < 0.1:
            action = chance.randrange(len(values[here]))
        else:
            action = int(values[here].argmax())
        observation, gain, terminated, truncated, _ = env.step(action)
        ended = terminated or truncated
        future = 0.0 if ended else values[tuple(observation)].max()
        values[here][action] += 0.5 * (gain + future - values[here][action])
        if ended:
            returns.append(gain)
            observation, _ = env.reset()
    env.close()
    first, last = np.mean(returns[:100]), np.mean(returns[-100:])
    print(f"trainer: {len(returns)} balls in {steps} steps")
    print(f"trainer: mean return of the first 100 {first:.2f}, the last {last:.2f}")
    return last


def both(steps):
    """Start the game as a process of its own, and train here."""
    game = subprocess.Popen([sys.executable, __file__, "play", "--sessions", "1"])
    try:
        train(steps)
        game.wait(30)
    finally:
        game.kill()


def main():
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "mode", nargs="?", choices=["both", "play", "train"], default="both"
    )
    parser.add_argument("--steps", type=int, default=50_000, help="for the trainer")
    parser.add_argument("--sessions", type=int, help="trainers, for the game")
    arguments = parser.parse_args()
    if arguments.mode == "play":
        play(arguments.sessions)
    elif arguments.mode == "train":
        train(arguments.steps)
    else:
        both(arguments.steps)


if __name__ == "__main__":
    main()
