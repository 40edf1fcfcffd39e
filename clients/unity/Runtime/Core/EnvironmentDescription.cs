using System;
using System.Collections.Generic;

namespace RLay
{
    /// <summary>What the environment's end says of its environment, and what the algorithm may call.</summary>
    public sealed class EnvironmentDescription
    {
        private readonly Dictionary<string, Func<object>> getters = new Dictionary<string, Func<object>>();
        private readonly Dictionary<string, Action<object>> setters = new Dictionary<string, Action<object>>();
        private readonly Dictionary<string, Func<IList<object>, Map, object>> methods =
            new Dictionary<string, Func<IList<object>, Map, object>>();
        private readonly Map allow = new Map();

        public EnvironmentDescription(Space observationSpace, Space actionSpace)
        {
            if (observationSpace == null) throw new ArgumentNullException("observationSpace");
            if (actionSpace == null) throw new ArgumentNullException("actionSpace");
            ObservationSpace = observationSpace;
            ActionSpace = actionSpace;
            Metadata = new Map();
        }

        public Space ObservationSpace { get; private set; }

        public Space ActionSpace { get; private set; }

        /// <summary>env.metadata of the algorithm.</summary>
        public Map Metadata { get; set; }

        /// <summary>"rgb_array" where Render is set; null where nothing is drawn.</summary>
        public string RenderMode { get; set; }

        /// <summary>Draws a frame: an NdArray of uint8, (height, width, 3).</summary>
        public Func<object> Render { get; set; }

        /// <summary>What env.remote_spec of the algorithm says: id, max_episode_steps ...; may be null.</summary>
        public Map Spec { get; set; }

        /// <summary>Lets the algorithm read a name, and write it where a setter is given.</summary>
        public void AllowAttribute(string name, Func<object> get, Action<object> set = null)
        {
            allow.Add(name, false);
            getters.Add(name, get);
            if (set != null) setters.Add(name, set);
        }

        /// <summary>Lets the algorithm call a method by its name.</summary>
        public void AllowMethod(string name, Func<IList<object>, Map, object> method)
        {
            allow.Add(name, true);
            methods.Add(name, method);
        }

        internal Facts ToFacts()
        {
            return new Facts
            {
                ObservationSpace = ObservationSpace, ActionSpace = ActionSpace, Metadata = Metadata ?? new Map(),
                RenderMode = RenderMode, Spec = Spec, Allow = allow
            };
        }

        /// <summary>The result of a call, or an exception that the algorithm is told.</summary>
        internal object Answer(CallRequest call)
        {
            switch (call.Operation)
            {
                case CallOperation.Render:
                    if (Render == null) throw new RLayException(ErrorCode.Unsupported, "this environment renders nothing");
                    return Render();
                case CallOperation.Get:
                    Func<object> get;
                    if (getters.TryGetValue(call.Name, out get)) return get();
                    break;
                case CallOperation.Set:
                    Action<object> set;
                    if (setters.TryGetValue(call.Name, out set) && call.Arguments.Count == 1)
                    {
                        set(call.Arguments[0]);
                        return null;
                    }
                    break;
                default:
                    Func<IList<object>, Map, object> method;
                    if (methods.TryGetValue(call.Name, out method)) return method(call.Arguments, call.Keywords);
                    break;
            }
            throw new RLayException(ErrorCode.NotAllowed, "the environment offers no " + call.Operation + " of '" + call.Name
                                    + "': add it with AllowAttribute or AllowMethod");
        }
    }

    /// <summary>What a reset led to: the first observation of an episode.</summary>
    public struct First
    {
        public object Observation;

        /// <summary>May be null.</summary>
        public Map Info;

        public First(object observation, Map info = null)
        {
            Observation = observation;
            Info = info;
        }
    }

    /// <summary>What a step led to.</summary>
    public struct Transition
    {
        public object Observation;
        public double Reward;
        public bool Terminated;
        public bool Truncated;

        /// <summary>May be null.</summary>
        public Map Info;

        public Transition(object observation, double reward, bool terminated = false, bool truncated = false, Map info = null)
        {
            Observation = observation;
            Reward = reward;
            Terminated = terminated;
            Truncated = truncated;
            Info = info;
        }

        internal StepResult ToResult()
        {
            return new StepResult
            {
                Observation = Observation, Reward = Reward, Terminated = Terminated, Truncated = Truncated, Info = Info ?? new Map()
            };
        }
    }

    /// <summary>How an end attaches.</summary>
    public sealed class AttachOptions
    {
        /// <summary>Of the channel, or its address at a bridge: tcp://host:port/name. Empty: RLAY_CHANNEL.</summary>
        public string Name = "";

        /// <summary>Where channels live; empty: RLAY_DIR or the default.</summary>
        public string Directory = "";

        /// <summary>Larger messages are refused.</summary>
        public long MaxMessageBytes = Protocol.DefaultMaxMessageBytes;

        /// <summary>Ends waits within 0.1 s, from another thread.</summary>
        public StopFlag Stop;

        /// <summary>For an address: the token of its bridge; empty: the file of RLAY_TOKEN_FILE, if set.</summary>
        public string Token = "";

        /// <summary>Seconds in which a Backend's constructor looks for its trainer; 0: it does not wait.</summary>
        public double ConnectTimeout = 0;

        /// <summary>Called with one line about each client that comes or goes; may be null.</summary>
        public Action<string> Log;

        internal string NameOrDefault()
        {
            string name = string.IsNullOrEmpty(Name) ? Environment.GetEnvironmentVariable("RLAY_CHANNEL") : Name;
            if (string.IsNullOrEmpty(name)) throw new MisuseException("no channel is named: give a name, or set RLAY_CHANNEL");
            return name;
        }
    }
}
