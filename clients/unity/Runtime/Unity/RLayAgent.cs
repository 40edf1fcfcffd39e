using UnityEngine;

namespace RLay
{
    /// <summary>An agent of a scene: override the methods, as an Agent of ML-Agents has them.</summary>
    /// <remarks>
    /// The RLayEnvironment of the scene calls them, all in FixedUpdate. Without a trainer the
    /// Heuristic gives the actions.
    /// </remarks>
    public abstract class RLayAgent : MonoBehaviour
    {
        private double reward;
        private bool terminated;
        private bool truncated;

        /// <summary>Steps of the present episode: ticks of the physics since it began.</summary>
        public int StepCount { get; internal set; }

        /// <summary>Ticks after which the episode is truncated; 0: never.</summary>
        public int MaxStep;

        /// <summary>What went along with the reset: the seed and the options.</summary>
        protected ResetRequest Reset { get; private set; }

        /// <summary>Told to the trainer with the next observation; cleared behind it.</summary>
        protected Map Info { get; private set; } = new Map();

        /// <summary>Space of what CollectObservations collects. Asked for once.</summary>
        public abstract Space CreateObservationSpace();

        /// <summary>Space of the actions. Asked for once.</summary>
        public abstract Space CreateActionSpace();

        /// <summary>Names that the trainer may read, write and call, and what else is to be said.</summary>
        public virtual void Describe(EnvironmentDescription description) { }

        /// <summary>Puts the scene where an episode begins. No tick has run when it returns.</summary>
        public virtual void OnEpisodeBegin() { }

        public abstract void CollectObservations(RLayObservations observations);

        /// <summary>Applies an action, for the tick that follows.</summary>
        public abstract void OnActionReceived(RLayAction action);

        /// <summary>Gives the action where no trainer is there: from the keyboard, say.</summary>
        public virtual void Heuristic(RLayAction action) { }

        /// <summary>Adds to the reward of the present decision.</summary>
        public void AddReward(float value)
        {
            reward += value;
        }

        /// <summary>Replaces the reward of the present decision.</summary>
        public void SetReward(float value)
        {
            reward = value;
        }

        /// <summary>The task reached an end: terminated.</summary>
        public void EndEpisode()
        {
            terminated = true;
        }

        /// <summary>The episode was cut short: truncated.</summary>
        public void EpisodeInterrupted()
        {
            truncated = true;
        }

        internal bool HasEnded
        {
            get { return terminated || truncated; }
        }

        internal void Begin(ResetRequest request)
        {
            Reset = request;
            StepCount = 0;
            reward = 0;
            terminated = truncated = false;
            Info = new Map();
            OnEpisodeBegin();
            // What the beginning itself says of rewards and ends is of no episode.
            reward = 0;
            terminated = truncated = false;
        }

        internal void CountTick()
        {
            StepCount++;
            if (MaxStep > 0 && StepCount >= MaxStep && !terminated) truncated = true;
        }

        internal First TakeFirst(object observation)
        {
            return new First(observation, TakeInfo());
        }

        internal Transition TakeTransition(object observation)
        {
            var transition = new Transition(observation, reward, terminated, truncated, TakeInfo());
            reward = 0;
            return transition;
        }

        private Map TakeInfo()
        {
            Map told = Info;
            Info = new Map();
            return told;
        }
    }
}
