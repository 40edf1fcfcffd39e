using System;

namespace RLay
{
    /// <summary>An environment that answers: the other end of a ClientEnv.</summary>
    /// <remarks>
    /// The callbacks run in the thread of Run. What they throw is raised at the algorithm's end,
    /// and the session goes on.
    /// </remarks>
    public sealed class EnvironmentServer : IDisposable
    {
        private readonly EnvironmentDescription description;
        private readonly AttachOptions options;
        private readonly string name;
        private readonly Facts facts;
        private readonly Agreement agreement;
        private readonly Map packedFacts;
        private readonly ulong incarnation = Ids.Draw();
        private IServerEnd server;

        /// <summary>Makes the channel. Clients are taken in by Run.</summary>
        public EnvironmentServer(EnvironmentDescription description, Func<ResetRequest, First> reset, Func<object, Transition> step,
            AttachOptions options = null)
        {
            this.description = description;
            this.options = options ?? new AttachOptions();
            Reset = reset;
            Step = step;
            name = this.options.NameOrDefault();
            facts = description.ToFacts();
            agreement = facts.Agree();
            packedFacts = facts.Pack();
            server = Attaching.OpenServer(name, this.options, Paradigm.ClientEnv, 1);
        }

        internal Func<ResetRequest, First> Reset { get; private set; }

        internal Func<object, Transition> Step { get; private set; }

        internal EnvironmentDescription Description
        {
            get { return description; }
        }

        /// <summary>Answers clients, one after the other, until so many have left; 0: for ever.</summary>
        /// <remarks>A client that asked for nothing does not count. A StopFlag ends it with StoppedException.</remarks>
        public void Run(int sessions = 0)
        {
            int served = 0;
            try
            {
                while (server != null && (sessions == 0 || served < sessions))
                {
                    if (ServeNext()) served++;
                }
                Close();
            }
            catch (StoppedException)
            {
                CloseWith(Reason.Draining);
                throw;
            }
        }

        /// <summary>Says goodbye and removes the channel. Twice is harmless.</summary>
        public void Close()
        {
            CloseWith(Reason.Closed);
        }

        public void Dispose()
        {
            Close();
        }

        private void CloseWith(Reason reason)
        {
            IServerEnd closing = server;
            server = null;
            if (closing != null) closing.Close(reason);
        }

        private bool ServeNext()
        {
            IServerEnd end = server;
            HelloMessage hello = end.ReceiveHello(new Deadline(Deadline.Forever, options.Stop));
            RLayException problem = hello.Problem ?? Judge(hello);
            try
            {
                if (problem != null)
                {
                    Log("refused a client: " + problem.Message);
                    end.Refuse(hello, problem, options.Stop);
                    return false;
                }
                var welcome = new Greeting
                {
                    Environment = packedFacts, Capabilities = Capability.Own,
                    MaxMessageBytes = Math.Min(options.MaxMessageBytes, hello.Hello.MaxMessageBytes)
                };
                SlotSession session = end.Accept(welcome, incarnation, hello.Session, SlotGeometry.CapacityFor(agreement.Decisions.Bytes),
                    SlotGeometry.CapacityFor(agreement.Reports.Bytes), options.Stop);
                bool records = (end.PeerCapabilities & hello.Hello.Capabilities & Protocol.CapabilityRecords) != 0;
                return ServeSession(session, records);
            }
            catch (PeerGoneException gone)
            {
                Log("a client left while it was greeted: " + gone.Message);
            }
            catch (RLayTimeoutException)
            {
                Log("a client did not read its answer");
            }
            return false;
        }

        private bool ServeSession(SlotSession session, bool records)
        {
            var service = new Service(this, session, agreement, records, options.Stop);
            try
            {
                service.Serve();
                Log("the client said goodbye");
            }
            catch (PeerGoneException gone)
            {
                Log("the client left: " + gone.Message);
            }
            catch (ProtocolException breach)
            {
                Log("the session ended: " + breach.Message);
            }
            catch (MessageTooLargeException breach)
            {
                Log("the session ended: " + breach.Message);
            }
            return service.Requests > 0;
        }

        private RLayException Judge(HelloMessage hello)
        {
            try
            {
                if (hello.Session == 0) throw new ProtocolException("a client drew no session");
                if (hello.Hello.Paradigm != Paradigm.ClientEnv || hello.Hello.Wishes == null)
                {
                    throw new ProtocolException("channel '" + name + "' holds an environment and waits for a ClientEnv");
                }
                Wishes wishes = Wishes.Parse(hello.Hello.Wishes);
                if (wishes.NumEnvs.HasValue && wishes.NumEnvs.Value != 1)
                {
                    return new RLayException(ErrorCode.NumEnvs, "channel '" + name + "' carries 1 environment, " + wishes.NumEnvs + " were asked for");
                }
                string wanted = wishes.RenderMode;
                // A client makes these two out of frames by itself.
                bool madeThere = facts.RenderMode == "rgb_array" && (wanted == "human" || wanted == "rgb_array_list");
                if (wanted != null && wanted != facts.RenderMode && !madeThere)
                {
                    return new RLayException(ErrorCode.Unsupported, "the environment of channel '" + name + "' renders "
                                             + (facts.RenderMode ?? "nothing") + ", " + wanted + " was asked for");
                }
                return Compare(wishes.ObservationSpace, facts.ObservationSpace, "observation")
                       ?? Compare(wishes.ActionSpace, facts.ActionSpace, "action");
            }
            catch (ProtocolException error)
            {
                return error;
            }
        }

        private RLayException Compare(Space demanded, Space ours, string which)
        {
            if (demanded == null) return null;
            byte[] one = ValueEncoder.ToBytes(demanded.Describe());
            byte[] other = ValueEncoder.ToBytes(ours.Describe());
            bool same = one.Length == other.Length;
            for (int i = 0; same && i < one.Length; i++) same = one[i] == other[i];
            return same ? null : new RLayException(ErrorCode.SpaceMismatch, "the " + which + " space of channel '" + name + "' is not the one that is demanded");
        }

        private void Log(string line)
        {
            if (options.Log != null) options.Log(line);
        }
    }
}
