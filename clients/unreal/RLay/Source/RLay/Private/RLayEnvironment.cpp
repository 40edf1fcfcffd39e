#include "RLayEnvironment.h"

#include <limits>

DEFINE_LOG_CATEGORY_STATIC(LogRLay, Log, All);

ARLayEnvironment::ARLayEnvironment()
{
	PrimaryActorTick.bCanEverTick = true;
}

void ARLayEnvironment::Initialize(FRLayDefinition& OutDefinition) { K2_Initialize(OutDefinition); }
void ARLayEnvironment::Reset(const FRLayReset& How, FRLayState& OutState) { K2_Reset(How, OutState); }
void ARLayEnvironment::Step(const FRLayAction& InAction) { K2_Step(InAction); }
void ARLayEnvironment::Observe(FRLayState& OutState) { K2_Observe(OutState); }
void ARLayEnvironment::Heuristic() { K2_Heuristic(); }

void ARLayEnvironment::BeginPlay()
{
	Super::BeginPlay();
	Initialize(Definition);
	const double Infinity = std::numeric_limits<double>::infinity();
	rlay::EnvironmentFacts Facts;
	Facts.observation_space = rlay::box<float>({Definition.ObservationSize}, -Infinity, Infinity);
	Facts.action_space = Definition.ActionChoices > 0
		? rlay::discrete(Definition.ActionChoices)
		: rlay::box<float>({Definition.ActionSize}, -1.0, 1.0);

	rlay::BackendOptions Options;
	FString Named = Channel;
	if (Named.IsEmpty())
	{
		FParse::Value(FCommandLine::Get(), TEXT("rlay-channel="), Named);
	}
	Options.name = TCHAR_TO_UTF8(*Named);
	Options.connect_timeout = 0.0;	// the level plays on while nobody is there
	const rlay::Status Status = Backend.open(Facts, Options);
	if (!Status.ok())
	{
		Fail(Status);
	}
}

void ARLayEnvironment::EndPlay(const EEndPlayReason::Type Reason)
{
	Backend.close();
	Super::EndPlay(Reason);
}

void ARLayEnvironment::Tick(float DeltaSeconds)
{
	Super::Tick(DeltaSeconds);
	if (!Problem.IsEmpty())
	{
		return;
	}
	if (TicksLeft > 0)
	{
		GoOn();
	}
	else
	{
		Look();
	}
}

void ARLayEnvironment::Look()
{
	rlay::Decision Decision;
	const rlay::Status Status = Backend.poll(Decision);
	if (!Status.ok())
	{
		Fail(Status);
	}
	else if (!Decision.is_none())
	{
		Decide(Decision);
	}
	else if (!Backend.connected())
	{
		Heuristic();
	}
}

void ARLayEnvironment::Decide(const rlay::Decision& Decision)
{
	if (Decision.is_close())
	{
		return;
	}
	if (Decision.is_action())
	{
		if (Definition.ActionChoices > 0)
		{
			Action.Choice = static_cast<int32>(Decision.action.integer());
		}
		else
		{
			const float* Numbers = Decision.action.data<float>();
			const int64 Count = Numbers ? Decision.action.count() : 0;
			Action.Values.SetNumZeroed(Definition.ActionSize);
			for (int32 Index = 0; Index < Definition.ActionSize && Index < Count; ++Index)
			{
				Action.Values[Index] = Numbers[Index];
			}
		}
		TicksLeft = ActionRepeat > 1 ? ActionRepeat : 1;
		Step(Action);
		return;
	}
	FRLayReset How;
	How.bHasSeed = Decision.reset.has_seed();
	How.Seed = static_cast<int64>(Decision.reset.seed_bits());
	Reset(How, State);
	if (!Fill(First.observation))
	{
		return;
	}
	const rlay::Status Status = Backend.report(First);
	if (!Status.ok())
	{
		Fail(Status);
	}
}

/** The action of the last tick has had its effect by now. */
void ARLayEnvironment::GoOn()
{
	--TicksLeft;
	Observe(State);
	const bool bEnded = State.bTerminated || State.bTruncated;
	if (TicksLeft > 0 && !bEnded)
	{
		Step(Action);
		return;
	}
	TicksLeft = 0;
	if (!Fill(Transition.observation))
	{
		return;
	}
	Transition.reward = State.Reward;
	Transition.terminated = State.bTerminated;
	Transition.truncated = State.bTruncated;
	const rlay::Status Status = Backend.report(Transition);
	if (!Status.ok())
	{
		Fail(Status);
	}
}

bool ARLayEnvironment::Fill(rlay::Value& Observation)
{
	if (State.Observation.Num() != Definition.ObservationSize)
	{
		Fail(rlay::Status(rlay::Code::space_mismatch,
			"the observation has " + std::to_string(State.Observation.Num()) + " numbers, Initialize said " +
				std::to_string(Definition.ObservationSize)));
		return false;
	}
	if (!Observation.is_array())
	{
		Observation = rlay::Value::array<float>(rlay::Shape{Definition.ObservationSize});
	}
	for (int32 Index = 0; Index < Definition.ObservationSize; ++Index)
	{
		Observation.data<float>()[Index] = State.Observation[Index];
	}
	return true;
}

void ARLayEnvironment::Fail(const rlay::Status& Status)
{
	Problem = UTF8_TO_TCHAR(Status.message().c_str());
	UE_LOG(LogRLay, Error, TEXT("%s"), *Problem);
	Backend.close(rlay::Reason::closed);
}
