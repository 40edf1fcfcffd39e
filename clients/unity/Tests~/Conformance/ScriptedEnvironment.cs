using System;
using System.Collections.Generic;
using System.IO;
using System.Threading;

namespace RLay.Conformance
{
    /// <summary>The script says to leave.</summary>
    internal sealed class Leaving : Exception { }

    /// <summary>A case file.</summary>
    internal sealed class Script
    {
        public Map Case;

        public static Script Load(string path)
        {
            var script = new Script { Case = (Map)ValueDecoder.FromBytes(File.ReadAllBytes(path)) };
            Sequences.BeforeFirst = (uint)script.Case.Get("first_sequence", 1L) - 1;
            return script;
        }

        public int Sessions
        {
            get { return (int)Case.Get("sessions", 1L); }
        }

        public EnvironmentDescription Describe()
        {
            return new EnvironmentDescription(Space.Parse(Case["observation_space"]), Space.Parse(Case["action_space"]))
            {
                Metadata = Case.Get("metadata", new Map())
            };
        }

        /// <summary>The nth entry, and so on from the first.</summary>
        public Map Turn(string which, long number)
        {
            var entries = (List<object>)Case[which];
            return (Map)entries[(int)((number - 1) % entries.Count)];
        }
    }

    internal sealed class ScriptedEnvironment
    {
        private readonly Script script;
        private long resets;
        private long steps;

        private ScriptedEnvironment(Script script)
        {
            this.script = script;
        }

        public static void Serve(Script script)
        {
            var env = new ScriptedEnvironment(script);
            EnvironmentServer server = null;
            Func<Func<Transition>, Transition> leavable = play =>
            {
                try
                {
                    return play();
                }
                catch (Leaving)
                {
                    server.Close();
                    Environment.Exit(0);
                    throw;
                }
            };
            using (server = new EnvironmentServer(script.Describe(),
                request =>
                {
                    Transition first = leavable(() => env.Reset(request));
                    return new First(first.Observation, first.Info);
                },
                action => leavable(() => env.Step(action))))
            {
                server.Run(script.Sessions);
            }
        }

        public static void Play(Script script)
        {
            var env = new ScriptedEnvironment(script);
            bool polling = script.Case.Get("loop", "blocking") == "polling";
            using (var backend = new Backend(script.Describe(), new AttachOptions { ConnectTimeout = 10 }))
            {
                int ended = 0;
                backend.Report();
                while (true)
                {
                    Decision decision = polling ? Next(backend) : backend.Poll(double.PositiveInfinity);
                    if (decision.Kind == DecisionKind.Close)
                    {
                        if (++ended == script.Sessions) return;
                        backend.Report();
                    }
                    else if (decision.Kind == DecisionKind.Reset)
                    {
                        Transition first = env.Reset(decision.Reset);
                        backend.Report(new First(first.Observation, first.Info));
                    }
                    else
                    {
                        backend.Report(env.Step(decision.Action));
                    }
                }
            }
        }

        private static Decision Next(Backend backend)
        {
            Decision decision;
            while ((decision = backend.Poll()) == null) Thread.Yield();
            return decision;
        }

        private Transition Reset(ResetRequest request)
        {
            resets++;
            steps = 0;
            return Play(script.Turn("resets", resets), new Map
            {
                { "seed", request.Seed == null ? null : request.Seed.ToString() }, { "options", request.Options }
            });
        }

        private Transition Step(object action)
        {
            steps++;
            return Play(script.Turn("steps", steps), new Map { { "action", action } });
        }

        private Transition Play(Map entry, Map said)
        {
            Thread.Sleep((int)entry.Get("wait_ms", 0L));
            if (entry.Get("leave", false)) throw new Leaving();
            if (entry.ContainsKey("raise")) throw new InvalidOperationException((string)entry["raise"]);
            said["step"] = steps;
            said["resets"] = resets;
            var info = new Map();
            foreach (var item in entry.Get("info", new Map())) info.Add(item.Key, item.Value);
            foreach (object name in entry.Get("echo", new List<object>())) info[(string)name] = said[(string)name];
            var boxed = entry.Get<List<object>>("observation");
            object reward;
            if (!entry.TryGetValue("reward", out reward)) reward = 0.0;
            return new Transition(boxed == null ? said["action"] : boxed[0], Convert.ToDouble(reward),
                entry.Get("terminated", false), entry.Get("truncated", false), info);
        }
    }
}
