"""Stable-Baselines3 trains on an environment in another process.

Nothing of Stable-Baselines3 knows of RLay: a ``ClientEnv`` is a ``gymnasium.Env``.
"""

import argparse

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import rlay


def main():
    """Train, and print the mean return before and after."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=30_000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # small networks; the environments need the other cores

    # Two environments, each in a process of its own, which ends with it.
    envs = make_vec_env(
        rlay.spawn, n_envs=2, seed=0, env_kwargs={"target": "CartPole-v1"}
    )
    model = PPO("MlpPolicy", envs, n_steps=256, learning_rate=1e-3, seed=0)

    before, _ = evaluate_policy(model, envs, n_eval_episodes=20, deterministic=False)
    print(f"mean return before training: {before:.1f}")
    model.learn(arguments.steps)
    after, _ = evaluate_policy(model, envs, n_eval_episodes=20, deterministic=False)
    print(f"mean return after {model.num_timesteps} steps: {after:.1f}")
    envs.close()


if __name__ == "__main__":
    main()
