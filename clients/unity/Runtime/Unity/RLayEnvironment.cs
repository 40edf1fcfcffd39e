using UnityEngine;

namespace RLay
{
    /// <summary>Makes the scene of its agent an environment; one in each scene.</summary>
    /// <remarks>
    /// It asks a ServerEnv for decisions. In a player without a window it waits for them, so that
    /// the scene runs as fast as the trainer; in the editor it looks once in each tick and holds
    /// the physics still, so that the window never hangs while the trainer sits at a breakpoint.
    /// </remarks>
    [DefaultExecutionOrder(-100)]
    public sealed class RLayEnvironment : MonoBehaviour
    {
        /// <summary>The channel, or empty: the argument --rlay-channel=NAME, else RLAY_CHANNEL.</summary>
        public string Channel = "";

        public RLayAgent Agent;

        /// <summary>How many seconds of the game pass in one of the wall clock.</summary>
        public float TimeScale = 20;

        /// <summary>Frames a second at most; -1: as many as there can be.</summary>
        public int FrameRate = -1;

        /// <summary>Whether a tick waits for the trainer's decision.</summary>
        public bool Blocks = true;

        /// <summary>The game's end where its trainer closes; else it goes on with the Heuristic.</summary>
        public bool QuitOnClose;

        private readonly RLayObservations observations = new RLayObservations();
        private readonly RLayAction action = new RLayAction();
        private Backend backend;
        private Space observationSpace;
        private RLayDecisionRequester requester;
        private float heldTimeScale = 1;
        private int ticksLeft;
        private bool running;
        private bool awaits;

        public bool IsConnected
        {
            get { return backend != null && backend.IsConnected; }
        }

        private void Start()
        {
            Time.timeScale = TimeScale;
            Application.targetFrameRate = FrameRate;
            requester = Agent.gameObject.GetComponent<RLayDecisionRequester>();
            observationSpace = Agent.CreateObservationSpace();
            var description = new EnvironmentDescription(observationSpace, Agent.CreateActionSpace());
            Agent.Describe(description);
            heldTimeScale = TimeScale;
            description.AllowAttribute("time_scale", delegate { return (double)heldTimeScale; }, SetTimeScale);
            backend = new Backend(description, new AttachOptions { Name = FindChannel() });
            Agent.Begin(new ResetRequest());
        }

        private void FixedUpdate()
        {
            if (backend == null) return;
            if (running && !awaits) FinishTick();
            if (!running && !backend.IsConnected)
            {
                Decision first = backend.Poll();
                if (!backend.IsConnected && first == null)
                {
                    PlayAlone();
                    return;
                }
                awaits = true;
                if (first != null) Take(first);
            }
            while (awaits)
            {
                Decision decision = backend.Poll(Blocks ? 0.1 : 0);
                if (decision == null)
                {
                    // Nothing moves until the decision is there.
                    Physics.autoSimulation = false;
                    return;
                }
                Take(decision);
            }
            if (!running) return;
            Physics.autoSimulation = true;
            if (ticksLeft == Period || requester == null || requester.TakeActionsBetweenDecisions) Agent.OnActionReceived(action);
        }

        private int Period
        {
            get { return requester == null || requester.DecisionPeriod < 1 ? 1 : requester.DecisionPeriod; }
        }

        /// <summary>What the tick before led to; at a decision point it is reported.</summary>
        private void FinishTick()
        {
            Agent.CountTick();
            ticksLeft--;
            if (ticksLeft > 0 && !Agent.HasEnded) return;
            backend.Report(Agent.TakeTransition(Observe()));
            awaits = true;
        }

        private void Take(Decision decision)
        {
            switch (decision.Kind)
            {
                case DecisionKind.Reset:
                    Agent.Begin(decision.Reset);
                    backend.Report(Agent.TakeFirst(Observe()));
                    running = false;
                    break;
                case DecisionKind.Action:
                    action.Value = decision.Action;
                    ticksLeft = Period;
                    running = true;
                    awaits = false;
                    break;
                default:
                    running = false;
                    awaits = false;
                    Physics.autoSimulation = true;
                    if (QuitOnClose) Application.Quit();
                    break;
            }
        }

        private object Observe()
        {
            observations.Clear();
            Agent.CollectObservations(observations);
            return observations.ToElement(observationSpace);
        }

        private void PlayAlone()
        {
            Agent.CountTick();
            if (Agent.HasEnded) Agent.Begin(new ResetRequest());
            Agent.Heuristic(action);
            if (action.Value != null) Agent.OnActionReceived(action);
        }

        private void SetTimeScale(object value)
        {
            heldTimeScale = System.Convert.ToSingle(value is Scalar ? ((Scalar)value).ToNumber() : value);
            Time.timeScale = heldTimeScale;
        }

        private string FindChannel()
        {
            if (!string.IsNullOrEmpty(Channel)) return Channel;
            const string option = "--rlay-channel=";
            foreach (string argument in System.Environment.GetCommandLineArgs())
            {
                if (argument.StartsWith(option, System.StringComparison.Ordinal)) return argument.Substring(option.Length);
            }
            return "";
        }

        private void OnDestroy()
        {
            if (backend != null) backend.Dispose();
            backend = null;
        }
    }
}
